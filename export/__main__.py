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
from pathlib import Path

from export.options import DTYPES, FORMS, Options


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


def main(*, freeze: bool = False) -> None:
    """Run the command; `freeze` where nothing but it runs in this process."""
    parser = _parser()
    given = parser.parse_args()
    if given.target == "triton" and (given.lean or given.if_needed):
        parser.error("--lean and --if-needed are for archives, not for --target triton")
    options = _options(parser, given)
    # Not above: torch and transformers take seconds, which neither help nor a wrong option has a use for.
    from export import command

    if freeze:
        gc.freeze()  # What was imported stays: each search for garbage between the steps would go through it.
    command.run(given, options)


if __name__ == "__main__":
    main(freeze=True)
