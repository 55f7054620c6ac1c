"""Export a model: tower programs, the parity gate, two MARs and the manifest entry.

    python -m export training/recipes/mini/checkpoint --store model_store

SOURCE is a folder of this project's checkpoints, of a Hugging Face model (CLIP, AltCLIP, dual encoders), of
an open_clip model or a file of its weights, of projection heads beside the models they were trained on, or
the name of one of these on the hub: hf-hub:ORGANISATION/NAME. For a model named `mini` it writes

    model_store/mini/{text,vision}/program.{pt2,onnx,onnx.data}    tower programs
    model_store/mini/parity.{json,md}                              what the gate measured
    model_store/mini-{text,vision}.mar                             the archives for TorchServe
    model_store/manifest.json                                      the entry that scripts/serve starts from

Every program is compared with the model on golden inputs before it is kept. If one differs, nothing of this
export reaches the store, and the command names the input that differs most and exits with status 1.

With --target triton the programs go into a model repository for Triton Inference Server instead of archives.
"""

import argparse
import dataclasses
import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

from export import archive, decoding, manifest, memory, parity, programs, report, triton, vocabulary
from export.options import DTYPES, FORMS, Options
from handlers.runtime.machine import usable_cores
from models import checkpoint, outputs
from models.loaders import registry

# The vision tower first: it is gone before the text tower's table, the largest tensor, is copied about.
TOWERS = ("vision", "text")


def export(source: Path, store: Path, options: Options, repository: Path | None = None) -> dict[str, Any]:
    """The whole export; returns what was measured, and the archives' paths or Triton's models.

    With a `repository`, the programs and their report go into the store, and Triton's models into it.

    Raises:
        CheckpointError, ParityError, DecodingError, VocabularyError, ArchiveError, ManifestError,
            RepositoryError: each says what is wrong.
    """
    loaded = registry.load(source, options.architecture)
    memory.give_back()  # of the weights that the library drew before those of the files took their place
    name = loaded.meta["name"]
    if repository is None:
        manifest.check_version(store, name, options.version)
    store.mkdir(parents=True, exist_ok=True)
    reports: list[parity.Report] = []
    canaries: dict[str, Any] = {"min_cosine": manifest.MIN_COSINE}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=store, prefix=".export-") as scratch:
        work = Path(scratch, name)
        for tower in TOWERS:
            folder = work / tower
            folder.mkdir(parents=True)
            inputs = parity.Golden(loaded, tower, options.languages if options.trim_vocab else ())
            if tower == "text":
                if options.trim_vocab:
                    loaded, sizes = _trimmed(loaded, options)
                    inputs.tokenizer = loaded.tokenizer
                loaded.tokenizer.no_padding()
                loaded.tokenizer.no_truncation()
                loaded.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
            paths = {
                form: programs.write(loaded.model, tower, form, folder, options.dtype)
                for form in options.forms
            }
            if tower == "vision":
                shortcut = decoding.choose(loaded)
                print(shortcut.sentence(), flush=True)
            memory.let_go(loaded.model, tower)
            for form, path in paths.items():
                program = programs.load(path)
                found = parity.compare(f"{tower}.{form}", inputs, inputs.embed(program), options.dtype)
                print(found.sentence(), flush=True)
                parity.require(found)
                reports.append(found)
                if tower not in canaries:
                    canaries[tower] = manifest.canary(loaded, tower, program)
                del program
                memory.give_back()
        report.write(work, report.document(loaded, options, reports, shortcut, sizes))
        made: dict[str, list[str]] = {}
        if repository is not None:
            folders = {tower: work / tower for tower in TOWERS}
            made["triton"] = triton.write(repository, loaded, folders, dtype=options.dtype)
        else:
            archives = [store / f"{name}-{tower}.mar" for tower in TOWERS]
            for tower, target in zip(TOWERS, archives, strict=True):
                archive.build(
                    loaded,
                    tower,
                    work / tower,
                    options,
                    reduction=shortcut.reduction,
                    canaries=canaries,
                    target=target,
                )
                print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
            made["mars"] = [str(path) for path in archives]
        shutil.rmtree(store / name, ignore_errors=True)
        os.replace(work, store / name)
    if repository is None:
        manifest.put(
            store,
            loaded,
            version=options.version,
            canaries=canaries,
            made_from=manifest.sources(source, options),
        )
    return {
        "space": loaded.meta["space"],
        "version": options.version,
        "dtype": options.dtype,
        "min_cosine": round(min(r.min_cosine for r in reports), 6),
        "top_agreement": round(min(r.top_agreement for r in reports), 4),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        **made,
    }


def _trimmed(loaded: checkpoint.Checkpoint, options: Options) -> tuple[checkpoint.Checkpoint, dict[str, int]]:
    """The checkpoint without the tokens that no listed language needs, and the sizes before and after."""
    pad_id = loaded.model.config.text.pad_id
    try:
        trimmed = vocabulary.trim(loaded.tokenizer, options.languages)
    except ValueError as error:
        raise vocabulary.VocabularyError(f"--languages: {error}") from error
    if pad_id in trimmed.moved:
        raise vocabulary.VocabularyError(
            "the padding token of this tokenizer does not come before its pieces"
        )
    encoder = loaded.model.text.encoder
    rows = encoder.get_input_embeddings().weight.detach()
    table = torch.nn.Embedding.from_pretrained(rows[trimmed.kept], padding_idx=pad_id)
    encoder.set_input_embeddings(table)
    sizes = {"all": len(rows), "kept": len(trimmed.kept)}
    print(f"vocabulary: {sizes['kept']:,} of {sizes['all']:,} tokens kept", flush=True)
    return dataclasses.replace(loaded, tokenizer=trimmed.tokenizer), sizes


def _options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    only_onnx = given.dtype == "int8" or given.target == "triton"
    forms = given.programs or ("onnx" if only_onnx else "both")
    try:
        return Options(
            version=given.version,
            dtype=given.dtype,
            forms=FORMS if forms == "both" else (forms,),
            languages=tuple(filter(None, given.languages.split(","))),
            trim_vocab=given.trim_vocab,
            lean=given.lean,
            architecture=given.architecture,
        )
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder, file of weights, or hf-hub:ORGANISATION/NAME"
    )
    parser.add_argument("--store", type=Path, default=Path("model_store"))
    parser.add_argument("--target", choices=("torchserve", "triton"), default="torchserve")
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("triton_models"),
        help="where --target triton writes its models",
    )
    parser.add_argument("--version", default="1.0", help="TorchServe version of both archives")
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default="float32", help="of the stored weights (default: float32)"
    )
    parser.add_argument(
        "--programs",
        choices=("both", *FORMS),
        help="what the archives hold: pt2 for GPUs, Gaudi and CPUs that multiply bfloat16, onnx for other "
        "CPUs; default: both, for int8 and Triton onnx",
    )
    parser.add_argument(
        "--languages",
        default="",
        metavar="LIST",
        help="what the text tower is for: en,de,zh,…, by CLDR's codes",
    )
    parser.add_argument(
        "--trim-vocab", action="store_true", help="drop the tokens that none of --languages needs"
    )
    parser.add_argument(
        "--lean",
        action="store_true",
        help="have ONNX Runtime widen weights in each pass: least memory, slower passes",
    )
    parser.add_argument(
        "--architecture", metavar="NAME", help="open_clip's name of the model, for a file without a config"
    )
    parser.add_argument(
        "--if-needed",
        action="store_true",
        help="do nothing when the store's default was made from the same sources",
    )
    given = parser.parse_args()
    if given.target == "triton" and (given.lean or given.if_needed):
        parser.error("--lean and --if-needed are for archives, not for --target triton")
    options = _options(parser, given)
    torch.set_num_threads(usable_cores())
    transformers.logging.set_verbosity_error()  # What is wrong with a model is said here, in one line.
    transformers.logging.disable_progress_bar()
    try:
        source = registry.locate(given.source)
        if given.if_needed and manifest.is_current(given.store, manifest.sources(source, options)):
            print(f"{given.store}: already exported from {source}, nothing to do")
            return
        outputs.check("export", "--store", given.store)
        if given.target == "triton":
            outputs.check("export", "--repository", given.repository)
        result = export(source, given.store, options, given.repository if given.target == "triton" else None)
    except (
        checkpoint.CheckpointError,
        parity.ParityError,
        decoding.DecodingError,
        vocabulary.VocabularyError,
        archive.ArchiveError,
        manifest.ManifestError,
        triton.RepositoryError,
        OSError,  # such as a disk that is full
    ) as error:
        sys.exit(f"export: {error}")
    print("result: " + json.dumps(result))


if __name__ == "__main__":
    main()
