"""An export from end to end: source → programs → parity → archives → manifest."""

import os
import resource
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import archive, manifest, memory, report, self_test, towers, triton
from export.options import Options
from export.parity import Report
from models.checkpoint import Checkpoint
from models.loaders import licences, registry


def export(source: Path, store: Path, options: Options, repository: Path | None = None) -> dict[str, Any]:
    """The whole export; returns what was measured, and the paths of the archives or Triton's models.

    With a `repository`, the programs and their report go into the store, and Triton's models into it.

    Raises:
        CheckpointError, ParityError, DecodingError, VocabularyError, ArchiveError, ManifestError,
            RepositoryError: each says what is wrong.
    """
    loaded = registry.load(source, options.architecture)
    if licence := loaded.meta.get("license"):
        print(licences.warning(licence), flush=True)
    memory.trim_heap()  # of the weights that the library drew before those of the files took their place
    name = loaded.meta["name"]
    if repository is None:
        manifest.check_version(store, name, options.version)
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=f".export-{os.getpid()}-") as scratch:
        work = Path(scratch, name)
        # Vision first: it is freed before the text tower's table, the largest tensor, is copied about.
        vision, shortcut = towers.export_vision(loaded, work / "vision", options)
        text, loaded, sizes = towers.export_text(loaded, work / "text", options)
        reports = [*vision.reports, *text.reports]
        report.write(work, report.document(loaded, options, reports, shortcut, sizes))
        self_tests = {"min_cosine": self_test.MIN_COSINE, "vision": vision.self_test, "text": text.self_test}
        made: dict[str, list[str]]
        if repository is None:
            made = {"mars": write_archives(loaded, store, work, options, shortcut.reduction, self_tests)}
        else:
            folders = {"vision": vision.folder, "text": text.folder}
            made = {"triton": triton.write(repository, loaded, folders, dtype=options.dtype)}
        shutil.rmtree(store / name, ignore_errors=True)
        os.replace(work, store / name)
    if repository is None:
        made_from = manifest.sources(source, options)
        manifest.put(store, loaded, version=options.version, self_tests=self_tests, made_from=made_from)
    return {**summary(loaded, options, reports), **made}


def write_archives(
    loaded: Checkpoint,
    store: Path,
    work: Path,
    options: Options,
    reduction: float,
    self_tests: dict[str, Any],
) -> list[str]:
    """Both archives, from the towers' folders in `work`; returns their paths."""
    made = []
    for tower in ("vision", "text"):
        target = store / f"{loaded.meta['name']}-{tower}.mar"
        archive.build(
            loaded,
            tower,
            work / tower,
            options,
            reduction=reduction,
            self_tests=self_tests,
            target=target,
        )
        print(f"{target}: {target.stat().st_size / 1e6:.1f} MB", flush=True)
        made.append(str(target))
    return made


def summary(loaded: Checkpoint, options: Options, reports: Sequence[Report]) -> dict[str, Any]:
    """What was measured over all programs; memory in GB, the largest that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {
        "space": loaded.meta["space"],
        "version": options.version,
        "dtype": options.dtype,
        "min_cosine": round(min(found.min_cosine for found in reports), 6),
        "top_agreement": round(min(found.top_agreement for found in reports), 4),
        "peak_memory_gb": round(peak, 2),
    }
