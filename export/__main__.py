"""Export a checkpoint: tower programs, the parity gate, two MARs and the manifest entry.

    python -m export training/checkpoints/mini --store model_store

writes, for a checkpoint named `mini`,

    model_store/mini/{text,vision}.pt2     tower programs in the serving dtype
    model_store/mini/{text,vision}.onnx    the same towers as ONNX, float32
    model_store/mini/parity.json           what the gate measured
    model_store/mini-{text,vision}.mar     the archives for TorchServe
    model_store/manifest.json              the entry that scripts/serve starts from

Every program is compared with the checkpoint on golden inputs before it is kept. If one differs, nothing of
this export reaches the store, and the command names the input that differs most and exits with status 1.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from export import archive, decoding, manifest, parity, programs
from training import checkpoint, sources

TOWERS = ("text", "vision")


def onnx_program(path: Path) -> parity.Program:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*arrays: Tensor) -> Tensor:
        inputs = {name: array.numpy() for name, array in zip(names, arrays, strict=True)}
        return torch.from_numpy(session.run(None, inputs)[0])

    return run


def export(folder: Path, store: Path, *, version: str, dtype: str, forms: Sequence[str]) -> dict[str, Any]:
    """The whole export; returns the parity report and the paths.

    Raises:
        CheckpointError, ParityError, DecodingError, ArchiveError, ManifestError: each says what is wrong.
    """
    loaded = sources.load(folder)
    name = loaded.meta["name"]
    manifest.check_version(store, name, version)
    store.mkdir(parents=True, exist_ok=True)
    reports: list[parity.Report] = []
    running: dict[str, parity.Program] = {}
    with tempfile.TemporaryDirectory(dir=store, prefix=".export-") as scratch:
        work = Path(scratch)
        for tower in TOWERS:
            inputs = parity.Golden(loaded, tower)
            pt2, onnx = work / f"{tower}.pt2", work / f"{tower}.onnx"
            programs.write_pt2(programs.trace(loaded.model, tower, dtype), pt2)
            running[tower] = torch.export.load(pt2).module()
            programs.write_onnx(loaded.model, tower, onnx)
            for label, program, kind in (
                (f"{tower}.pt2", running[tower], dtype),
                (f"{tower}.onnx", onnx_program(onnx), "float32"),
            ):
                report = parity.compare(label, inputs, inputs.embed(program), kind)
                print(report.sentence(), flush=True)
                parity.require(report)
                reports.append(report)
        shortcut = decoding.choose(loaded)
        print(shortcut.sentence(), flush=True)
        document = {
            "checkpoint": name,
            "space": loaded.meta["space"],
            "decoding": shortcut.to_json(),
            "reports": [r.to_json() for r in reports],
        }
        (work / "parity.json").write_text(
            json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        canaries = manifest.canary(loaded, running)
        for tower in TOWERS:
            target = store / f"{name}-{tower}.mar"
            archive.build(
                loaded,
                tower,
                {form: work / f"{tower}.{form}" for form in forms},
                dtype=dtype,
                reduction=shortcut.reduction,
                version=version,
                canaries=canaries,
                target=target,
            )
            print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
        shutil.rmtree(store / name, ignore_errors=True)
        shutil.copytree(work, store / name)
    made_from = manifest.sources(folder, version=version, dtype=dtype, forms=forms)
    manifest.put(store, loaded, version=version, canaries=canaries, made_from=made_from)
    return {
        "space": loaded.meta["space"],
        "version": version,
        "dtype": dtype,
        "min_cosine": round(min(r.min_cosine for r in reports), 6),
        "top_agreement": round(min(r.top_agreement for r in reports), 4),
        "mars": [str(store / f"{name}-{tower}.mar") for tower in TOWERS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="folder of a checkpoint, or of a CLIPModel, AltCLIPModel or VisionTextDualEncoderModel "
        "as Hugging Face saves them",
    )
    parser.add_argument("--store", type=Path, default=Path("model_store"))
    parser.add_argument("--version", default="1.0", help="TorchServe version of both archives")
    parser.add_argument(
        "--dtype", choices=tuple(programs.DTYPES), default="float32", help="of the served programs"
    )
    parser.add_argument(
        "--programs",
        choices=("both", "pt2", "onnx"),
        help="what the archives hold: pt2 for GPUs and Gaudi, onnx for CPUs, in float32 only; default: both, "
        "with --dtype bfloat16 pt2",
    )
    parser.add_argument(
        "--if-needed",
        action="store_true",
        help="do nothing when the store's default was made from the same sources",
    )
    options = parser.parse_args()
    programs_asked = options.programs or ("both" if options.dtype == "float32" else "pt2")
    if options.dtype != "float32" and programs_asked != "pt2":
        parser.error(f"--programs {programs_asked} needs --dtype float32: the ONNX programs are float32")
    forms = ("pt2", "onnx") if programs_asked == "both" else (programs_asked,)
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        made_from = manifest.sources(
            options.checkpoint, version=options.version, dtype=options.dtype, forms=forms
        )
        if options.if_needed and manifest.is_current(options.store, made_from):
            print(f"{options.store}: already exported from {options.checkpoint}, nothing to do")
            return
        result = export(
            options.checkpoint, options.store, version=options.version, dtype=options.dtype, forms=forms
        )
    except (
        checkpoint.CheckpointError,
        parity.ParityError,
        decoding.DecodingError,
        archive.ArchiveError,
        manifest.ManifestError,
    ) as error:
        sys.exit(f"export: {error}")
    print("result: " + json.dumps(result))


if __name__ == "__main__":
    main()
