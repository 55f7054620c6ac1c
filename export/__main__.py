"""Export a model: tower programs, the parity gate, two MARs and the manifest entry.

    python -m export training/recipes/mini/checkpoint --store model_store

SOURCE is a folder of this project's checkpoints, of a Hugging Face model (CLIP, AltCLIP, dual encoders), of
an open_clip model or a file of its weights, of projection heads beside the models they were trained on, or
the name of one of these on the hub: hf-hub:ORGANISATION/NAME. M-CLIP's and sentence-transformers' text towers
are published by themselves: --vision names the CLIP that they go with. For a model named `mini` it writes

    model_store/mini/{text,vision}/program.{pt2,onnx,onnx.data}    tower programs
    model_store/mini/parity.{json,md}                              what the gate measured
    model_store/mini-{text,vision}.mar                             the archives for TorchServe
    model_store/manifest.json                                      the entry that scripts/serve starts from

Every program is compared with the model on golden inputs before it is kept. If one differs, nothing of this
export reaches the store, and the command names the input that differs most and exits with status 1.

With --target triton the programs go into a model repository for Triton Inference Server instead of archives.
"""

import argparse
import gc
import json
import sys
from pathlib import Path

import torch
import transformers

from export import archive, decoding, manifest, parity, triton, vocabulary
from export.options import DTYPES, FORMS, Options
from export.pipeline import export
from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.weights import CheckpointError
from models.loaders import registry

# What a user can mend is said in one line; anything else is a bug, and keeps its stack trace.
KNOWN_ERRORS = (
    CheckpointError,
    parity.ParityError,
    decoding.DecodingError,
    vocabulary.VocabularyError,
    archive.ArchiveError,
    manifest.ManifestError,
    triton.RepositoryError,
    OSError,  # such as a disk that is full
)


def _parser() -> argparse.ArgumentParser:
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
        help="what the archives hold: pt2 for GPUs, Gaudi and CPUs with native bfloat16, onnx for other "
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
        "--vision",
        metavar="CLIP",
        help="of a SOURCE that is a text tower by itself: the CLIP that it goes with, a folder or name too",
    )
    parser.add_argument(
        "--if-needed",
        action="store_true",
        help="do nothing when the store's default was made from the same sources",
    )
    return parser


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
            low_memory=given.lean,
            architecture=given.architecture,
        )
    except ValueError as error:
        parser.error(str(error))


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    to_triton = given.target == "triton"
    if to_triton and (given.lean or given.if_needed):
        parser.error("--lean and --if-needed are for archives, not for --target triton")
    options = _options(parser, given)
    # Those of the container, which torch does not look at, or fewer, where OMP_NUM_THREADS says so.
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    transformers.logging.set_verbosity_error()  # What is wrong with a model is said here, in one line.
    transformers.logging.disable_progress_bar()
    try:
        source = registry.locate(given.source, given.vision)
        if given.if_needed and manifest.is_current(given.store, manifest.sources(source, options)):
            print(f"{given.store}: already exported from {source}, nothing to do")
            return
        outputs.check("export", "--store", given.store)
        if to_triton:
            outputs.check("export", "--repository", given.repository)
        result = export(source, given.store, options, given.repository if to_triton else None)
    except KNOWN_ERRORS as error:
        sys.exit(f"export: {error}")
    except KeyboardInterrupt:
        sys.exit("export: stopped; what was unfinished is removed")
    print("result: " + json.dumps(result))


if __name__ == "__main__":
    gc.freeze()  # What was imported stays: each search for garbage between the steps would go through it.
    main()
