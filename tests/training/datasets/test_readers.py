import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.any_bytes import any_bytes
from tests.training.datasets.folders import write_pictures
from training.datasets import coco, conceptual_captions, parallel, tables, unsplash
from training.datasets.parallel import Pair
from training.datasets.rows import DataError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
same_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)


def coco_file(folder: Path, images: object, annotations: object) -> Path:
    path = folder / "captions_train2014.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_coco_brings_an_images_captions_together(tmp_path: Path) -> None:
    """Protects COCO's pairs: captions go to the image they name, images without any are counted."""
    write_pictures(tmp_path / "train2014", ["a.jpg", "b.jpg", "c.jpg"])
    path = coco_file(
        tmp_path,
        [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}, {"id": 9, "file_name": "c.jpg"}],
        [
            {"id": 1, "image_id": 8, "caption": "b one\n"},
            {"id": 2, "image_id": 7, "caption": "a"},
            {"id": 3, "image_id": 8, "caption": "b two"},
        ],
    )
    examples = coco.read(path, tmp_path / "train2014", language="en")
    assert [(e.key, e.captions, e.language) for e in examples] == [
        ("8", ("b one", "b two"), "en"),
        ("7", ("a",), "en"),
    ]
    assert examples[0].read() == (tmp_path / "train2014/b.jpg").read_bytes()
    assert examples.left_out.counts == {"no usable caption": 1}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"image_id": 3, "caption": "x"}, 'no image of "images" has the id 3'),
        ({"image_id": True, "caption": "x"}, "it must be an object with an image_id"),
        ({"image_id": 1, "caption": " "}, "'caption' must not be empty"),
        ({"image_id": 1}, "'caption' is missing; there is image_id"),
        ({"image_id": 2, "caption": "x"}, "there is no image"),
        ({"image_id": 4, "caption": "x"}, "must stay within the folder"),
        (5, "it must be an object"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, annotation: object, words: str) -> None:
    """Protects from silence over wrong annotations: strict names it, tolerant counts it."""
    write_pictures(tmp_path / "images", ["a.jpg"])
    images = [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 2, "file_name": "gone.jpg"},
        {"id": 4, "file_name": "../a.jpg"},
    ]
    path = coco_file(tmp_path, images, [{"image_id": 1, "caption": "a"}, annotation])
    with pytest.raises(DataError, match=r"annotations\[1\]") as error:
        coco.read(path, tmp_path / "images")
    assert words in str(error.value)
    examples = coco.read(path, tmp_path / "images", strict=False)
    assert len(examples) == 1
    assert sum(len(found) for found in examples.left_out.sentences.values()) == 1


@given(images=JSON, annotations=JSON | st.lists(st.dictionaries(st.just("image_id"), JSON)))
@same_folder
def test_no_json_breaks_the_reading_of_coco(tmp_path: Path, images: object, annotations: object) -> None:
    """Protects tolerant reading of COCO from any JSON: it is refused as a whole, or counted row by row."""
    path = coco_file(tmp_path, images, annotations)
    if isinstance(images, list) and isinstance(annotations, list):
        assert len(coco.read(path, tmp_path, strict=False)) == 0
    else:
        with pytest.raises(DataError, match='"images" and "annotations"'):
            coco.read(path, tmp_path, strict=False)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("by_folder", [True, False])
def test_flat_coco_rows_are_read(tmp_path: Path, suffix: str, by_folder: bool) -> None:
    """Protects the flat form of COCO in each of its files, found by folder or by the rows' own paths."""
    write_pictures(tmp_path / "images", ["a.jpg", "b.jpg"])
    rows = [
        {
            "image_id": image_id,
            "caption_id": number,
            "caption": caption,
            "height": 96,
            "width": 96,
            "file_name": name,
            "coco_url": f"http://images.example/{name}",
            "image_path": str(tmp_path / "images" / name),
            "id": number,
        }
        for number, (image_id, name, caption) in enumerate(
            [(7, "a.jpg", 'a "red" bus, parked'), (8, "b.jpg", "b"), (7, "a.jpg", "a bus")]
        )
    ]
    path = tmp_path / f"rows{suffix}"
    with path.open("w", newline="") as file:
        if suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.write(json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)))
    examples = coco.read_rows(path, tmp_path / "images" if by_folder else None)
    assert [(e.key, e.captions) for e in examples] == [("7", ('a "red" bus, parked', "a bus")), ("8", ("b",))]
    assert examples[1].read() == (tmp_path / "images/b.jpg").read_bytes()


def test_an_image_id_stands_for_one_file(tmp_path: Path) -> None:
    """Protects captions from going to another image that has the same id."""
    write_pictures(tmp_path, ["a.jpg", "b.jpg"])
    path = tmp_path / "rows.csv"
    path.write_text("image_id,file_name,caption\n7,a.jpg,a\n7,b.jpg,b\n")
    with pytest.raises(DataError, match=r"rows\.csv:3: image_id 7 stood for another file before"):
        coco.read_rows(path, tmp_path)
    assert [e.captions for e in coco.read_rows(path, tmp_path, strict=False)] == [("a",)]
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]
    with pytest.raises(DataError, match=r"images\[1\]: the id 7 stood for another file before"):
        coco.read(coco_file(tmp_path, images, []), tmp_path)


def test_an_open_clip_table_is_read(tmp_path: Path) -> None:
    """Protects open_clip's defaults: tabs, filepath, title, in a file that may be called .csv."""
    write_pictures(tmp_path, ["images/a.jpg", "images/b.jpg"])
    table = tmp_path / "train.csv"
    table.write_text('filepath\ttitle\nimages/a.jpg\t"a ""red"" bus"\nimages/b.jpg\tb, c\nimages/a.jpg\td\n')
    examples = tables.read(table)
    assert [(e.key, e.captions) for e in examples] == [
        ("images/a.jpg", ('a "red" bus', "d")),
        ("images/b.jpg", ("b, c",)),
    ]
    assert examples[0].read() == (tmp_path / "images/a.jpg").read_bytes()


def test_a_table_in_several_languages_can_be_read_by_language(tmp_path: Path) -> None:
    """Protects evaluation by language, and images whose captions are in several."""
    write_pictures(tmp_path / "images", ["a.jpg", "b.jpg"])
    table = tmp_path / "rows.jsonl"
    rows = [("a.jpg", "a bus", "en"), ("a.jpg", "ein Bus", "de"), ("b.jpg", "a dog", "en")]
    table.write_text("".join(json.dumps(dict(zip("fcl", row, strict=True))) + "\n" for row in rows))
    names: dict[str, Any] = {"image_column": "f", "caption_column": "c", "language_column": "l"}
    every = tables.read(table, images=tmp_path / "images", **names)
    assert [(e.captions, e.language) for e in every] == [(("a bus", "ein Bus"), None), (("a dog",), "en")]
    german = tables.read(table, images=tmp_path / "images", language="de", **names)
    assert [(e.captions, e.language) for e in german] == [(("ein Bus",), "de")]
    assert german.left_out.counts == {"not in the language de": 2}


@given(data=st.binary(max_size=100))
@same_folder
def test_no_bytes_break_the_reading_of_a_table(tmp_path: Path, data: bytes) -> None:
    """Protects tolerant reading from file names that no file system takes."""
    (tmp_path / "t.csv").write_bytes(b"filepath\ttitle\n" + data)
    examples = tables.read(tmp_path / "t.csv", strict=False)
    assert len(examples) == 0 or examples[0].captions


def test_a_missing_image_of_a_table_is_named(tmp_path: Path) -> None:
    """Protects from training on less than the table names."""
    (tmp_path / "t.csv").write_text(f"filepath\ttitle\n{'x' * 300}.jpg\ta\n")
    with pytest.raises(DataError, match=r"t.csv:2: there is no image"):
        tables.read(tmp_path / "t.csv")
    assert tables.read(tmp_path / "t.csv", strict=False).left_out.counts == {"missing image": 1}


def test_parallel_text_keeps_english_pairs_and_quotation_marks(tmp_path: Path) -> None:
    """Protects what distillation depends on: English–English pairs, and text as it is written."""
    path = tmp_path / "pairs.tsv"
    path.write_text('source_text\ttarget_text\tlang\na "bus\t"ein Bus\tde\na dog\ta dog\ten\n')
    pairs = parallel.read(path, language_column="lang")
    assert list(pairs) == [Pair('a "bus', '"ein Bus', "de"), Pair("a dog", "a dog", "en")]
    path.with_suffix(".jsonl").write_text('{"source_text": "a", "target_text": "b"}\n')
    assert list(parallel.read(path.with_suffix(".jsonl"), language="fr")) == [Pair("a", "b", "fr")]


def test_a_wrong_pair_is_named_or_counted(tmp_path: Path) -> None:
    """Protects distillation from shifted columns."""
    path = tmp_path / "pairs.tsv"
    path.write_text("source_text\ttarget_text\na\tb\nonly one\nc\t \n")
    with pytest.raises(DataError, match=r"pairs.tsv:3: the row has 1 cells where 2 are due"):
        parallel.read(path)
    pairs = parallel.read(path, strict=False)
    assert list(pairs) == [Pair("a", "b", None)]
    assert pairs.left_out.counts == {"wrong number of cells": 1, "malformed row": 1}


def test_unsplash_photos_have_their_address(tmp_path: Path) -> None:
    """Protects search results from another photo's address; the JSON is beside the image or above it."""
    write_pictures(tmp_path / "images", ["xB1.JPG", "aA2.jpeg", "c.jpg"])
    (tmp_path / "images/xB1.json").write_text('{"urls": {"small": "https://photos.example/x"}}')
    (tmp_path / "aA2.json").write_text('{"urls": {"small": "https://photos.example/a"}}')
    with pytest.raises(DataError, match=r"c\.jpg: .*c\.json cannot be read"):
        unsplash.read(tmp_path)
    (tmp_path / "c.json").write_text('{"urls": {}}')
    with pytest.raises(DataError, match=r"c\.json: it must have the text urls.small"):
        unsplash.read(tmp_path)
    photos = unsplash.read(tmp_path, strict=False)
    assert [(p.key, p.url) for p in photos] == [
        ("aA2", "https://photos.example/a"),
        ("xB1", "https://photos.example/x"),
    ]
    assert photos[1].read() == (tmp_path / "images/xB1.JPG").read_bytes()


@pytest.mark.parametrize("header", ["", "caption\turl\n", "url\tcaption\n"])
def test_conceptual_captions_are_read_with_and_without_a_header(tmp_path: Path, header: str) -> None:
    """Protects the first row of the public file, which has no header, and captions with quotation marks."""
    url, other = "http://images.example/a.jpg", "http://images.example/b.jpg"
    rows = [('"a bus', url), ("a dog", other), ("a car", url)]
    if header.startswith("url"):
        rows = [(address, caption) for caption, address in rows]
    (tmp_path / "googlecc.tsv").write_text(header + "".join(f"{a}\t{b}\n" for a, b in rows))
    (tmp_path / "processed_map.json").write_text(json.dumps({url: "success", other: "bad_request"}))
    path = conceptual_captions.image_path(tmp_path, url)
    assert path.name == f"{hashlib.sha1(url.encode()).hexdigest()}.jpg"
    write_pictures(path.parent, [path.name])
    examples = conceptual_captions.read(tmp_path)
    assert [(e.captions, e.language) for e in examples] == [(('"a bus', "a car"), "en")]
    assert examples.left_out.counts == {"not downloaded": 1}
    path.unlink()
    with pytest.raises(DataError, match="though it was downloaded"):
        conceptual_captions.read(tmp_path)


@given(data=any_bytes(100))
@same_folder
def test_no_bytes_break_the_reading_of_googlecc(tmp_path: Path, data: bytes) -> None:
    """Protects tolerant reading of the captions file from any bytes: each line is given or counted."""
    (tmp_path / "googlecc.tsv").write_bytes(data)
    (tmp_path / "processed_map.json").write_text("{}")
    assert len(conceptual_captions.read(tmp_path, strict=False)) == 0
