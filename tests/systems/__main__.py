"""The public systems at their true sizes: built, exported, served, compared, and refused when broken.

    python -m tests.systems [FAMILY …] [--folder DIR] [--dtype float32 bfloat16] [--quick]

For each family (all of them unless some are named) it builds the published architecture with random weights
by the reference library, saves it in that system's own files, and notes the library's own vectors of golden
texts and of photographs. Then, as a user would: `python -m export` on those files, a
TorchServe with what it wrote, and requests over gRPC. At last it breaks the files in several ways and exports
again. Prints one line of JSON a family. Needs 24 GB of memory and 30 GB of disk for the largest; each
family's files are removed before the next.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from babelclip import Client
from handlers.runtime.device import has_native_bfloat16
from tests.e2e.support import launched
from tests.places import REPOSITORY
from tests.systems import families, registry
from tests.systems.spoilers import spoilers

LEAST = {"float32": 0.9999, "bfloat16": 0.995, "int8": 0.99}


def build(family: str, folder: Path) -> None:
    """Runs in a process of its own, so that the reference's memory is gone before the export begins."""
    reference = registry.FAMILIES[family](folder / family, true=True)
    np.savez(folder / "reference.npz", texts=reference.texts, images=reference.images)


def export(source: Path, store: Path, *options: str) -> tuple[int, str, str, dict[str, float]]:
    """`python -m export` as a process: exit status, its output and errors, seconds and peak memory in GB."""
    command = [sys.executable, "-m", "export", str(source), "--store", str(store), *options]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = process.communicate()
    used = {"seconds": round(time.monotonic() - began, 1), "peak_gb": _peak_gb(out)}
    return process.returncode, out, err, used


def _peak_gb(out: str) -> float:
    """What the export says of its own largest resident memory."""
    for line in out.splitlines():
        if line.startswith("result: "):
            return float(json.loads(line.removeprefix("result: "))["peak_memory_gb"])
    return 0.0


def serve(store: Path, folder: Path, reference: families.Reference, dtype: str) -> dict[str, Any]:
    """The smallest cosine of each tower over gRPC, seconds until ready, and the workers' memory in GB."""
    # Else a CPU that multiplies bfloat16 would do so with float32 weights too.
    os.environ["BABELCLIP_DTYPE"] = "float32" if dtype == "float32" else "auto"
    began = time.monotonic()
    with launched("--store", store, "--run-dir", folder / "run", "--ports", "auto") as launcher:
        server = launcher.wait_ready()
        ready = time.monotonic() - began
        with Client(server.grpc, token_file=server.token_file, timeout=600.0) as client:
            texts = client.embed_texts(families.TEXTS)
            images = client.embed_images(families.pictures())
        pids = {tower: pids[0] for tower, pids in server.worker_pids().items()}
        resident = {t: round(psutil.Process(pid).memory_info().rss / 1e9, 2) for t, pid in pids.items()}
    return {
        "text": round(families.nearest(reference.texts, list(texts.vectors)), 6),
        "image": round(families.nearest(reference.images, list(images.vectors)), 6),
        "ready_s": round(ready, 1),
        "resident_gb": resident,
    }


def weights_gb(source: Path) -> float:
    """All weights of a model's files."""
    kinds = (".safetensors", ".bin", ".ckpt", ".pt")
    return sum(p.stat().st_size for p in source.rglob("*") if p.suffix in kinds) / 1e9


def broken(family: str, source: Path, folder: Path) -> dict[str, str]:
    """What the export says of each kind of damage; raises unless it fails in one line that names the file."""
    said = {}
    for name, spoil in spoilers(family).items():
        damaged = folder / f"broken-{name}" / family
        shutil.rmtree(damaged.parent, ignore_errors=True)
        shutil.copytree(source, damaged)
        file = spoil(damaged)
        status, _, err, _ = export(damaged, folder / "store-of-broken")
        lines = err.strip().splitlines()
        if status != 1 or len(lines) != 1 or file not in err or not err.startswith("export: "):
            raise AssertionError(f"{family}, {name}: exit {status}, said: {err}")
        said[name] = lines[0].replace(str(folder), "…")
        shutil.rmtree(damaged.parent)
    return said


def check(family: str, folder: Path, dtypes: list[str], *, quick: bool) -> dict[str, Any]:
    """Everything about one family; raises if it is not as it must be."""
    command = [sys.executable, "-m", "tests.systems", "--build", family, "--folder", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    source = folder / family
    found: dict[str, Any] = {"family": family, "weights_gb": round(weights_gb(source), 2)}
    with np.load(folder / "reference.npz") as arrays:
        reference = families.Reference(arrays["texts"], arrays["images"])
    for dtype in dtypes:
        store = folder / f"store-{dtype}"
        # A CPU that emulates bfloat16 would take hours over the `.pt2` of the largest.
        emulated = dtype == "bfloat16" and not has_native_bfloat16("cpu")
        only = ["--programs", "onnx"] if emulated else []
        status, _, err, used = export(source, store, "--dtype", dtype, *only)
        if status != 0:
            raise AssertionError(f"{family} in {dtype}: exit {status}: {err}")
        parity = json.loads(next(store.glob("*/parity.json")).read_text())
        found[dtype] = {"export": used, "served": serve(store, folder, reference, dtype)}
        found[dtype]["gate"] = min(report["min_cosine"] for report in parity["reports"])
        shutil.rmtree(store)
        least = min(found[dtype]["served"][kind] for kind in ("text", "image"))
        print(f"{family} {dtype}: {json.dumps(found[dtype])}", flush=True)
        if least < LEAST[dtype]:
            raise AssertionError(f"{family} in {dtype}: cosine {least} where {LEAST[dtype]} is due")
    if not quick:
        found["broken"] = broken(family, source, folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.systems",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(registry.FAMILIES))
    parser.add_argument("--folder", type=Path, help="for the files; default: a temporary one")
    parser.add_argument("--dtype", nargs="+", choices=tuple(LEAST), default=["float32"])
    parser.add_argument("--quick", action="store_true", help="without the broken files")
    parser.add_argument("--build", choices=tuple(registry.FAMILIES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.build, options.folder)
        return
    unknown = set(options.families) - set(registry.FAMILIES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(registry.FAMILIES)}")
    for family in options.families or registry.FAMILIES:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="systems-") as scratch:
            found = check(family, Path(scratch), options.dtype, quick=options.quick)
        print(f"result: {json.dumps(found, ensure_ascii=False)}", flush=True)


if __name__ == "__main__":
    main()
