"""Image–text and text–text data as it lies on disk, in the layouts that CLIP training commonly meets.

    coco                  COCO captions, and the same captions as flat rows
    conceptual_captions   googlecc.tsv and the folder of its images
    tables                CSV, TSV and JSONL with a column of files and a column of captions
    shards                WebDataset tar files
    parallel              sentences in English and in another language, for distillation
    unsplash              photos and their addresses, for search

A reader gives an `examples.Examples`: a sequence that knows where each image's bytes lie and that worker
processes share cheaply. `splitting` parts it without leaks, `leakage` proves it, `loading` decodes it.
Nothing is passed over silently: a malformed row raises DataError, or with `strict=False` is left out and
counted by reason in `left_out`. `coco_fetch`, `conceptual_captions` and `unsplash_fetch` get data from the
web, by `downloads` and `large_files`.
"""
