"""Which runtime serves a tower where several could: measured once, kept, and followed by every worker.

Two runtimes round differently in bfloat16, so vectors of one space would differ with the runtime that
happened to win when a worker started. The result is therefore kept for the archive and the kind of CPU, in a
file in the folder of the environment's BABELCLIP_STATE_DIR, else in the user's cache
(`$XDG_CACHE_HOME/babelclip`, `~/.cache/babelclip`), else, where neither can be written, in the unpacked
archive, which lives as long as the server:

    runtime-{archive}-{CPU}.json    {"runtime": "openvino", "rows_per_second": {…}, "cpu": …, "measured": …}

Whoever writes the file first decides. It changes when an operator deletes or edits it, names a runtime
(`babelclip.runtime`, BABELCLIP_RUNTIME), or serves another archive. Replicas that share the folder share the
result; others agree unless two runtimes differ by just about CLEARLY_FASTER.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handlers.batching import Array
from handlers.runtime import runtimes
from handlers.runtime.device import Placement

_log = logging.getLogger(__name__)

CLEARLY_FASTER = 1.25
"""How much faster than the preferred runtime another must be to take its place: more than noise explains."""
STATE_DIR_VARIABLE = "BABELCLIP_STATE_DIR"
# Of a trial: enough that one interruption does not decide, few enough that the start is not held up.
_TRIAL_PASSES = 5
_CPU_FACTS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
_CPU_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16")


def settle(
    placements: Sequence[Placement],
    programs: Mapping[str, Path],
    trial: tuple[Array, ...],
    *,
    folder: Path,
    threads: int,
) -> Placement:
    """The placement to serve by: the only one, the kept one, or the winner of a trial, which is then kept.

    `placements` come with the preferred one first; `trial` is an input of the tower, `folder` the unpacked
    archive.

    Raises:
        RuntimeError: there are several, none of them is kept, and none can run the program.
    """
    if len(placements) == 1:
        return placements[0]
    name = f"runtime-{archive_key(folder)}-{cpu_kind()}.json"
    for state in state_folders(folder):
        with contextlib.suppress(OSError):
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _alone(state):
                kept = _kept(state / name, placements)
                if kept is None:
                    kept = _keep(state / name, placements, _rates(placements, programs, trial, threads))
            _log.info("the runtime %s serves, as %s says", kept.runtime, state / name)
            return kept
    return _winner(placements, _rates(placements, programs, trial, threads))


def state_folders(archive: Path) -> Iterator[Path]:
    """Where the result may be kept, the best place first."""
    given = os.environ.get(STATE_DIR_VARIABLE)
    if given:
        yield Path(given)
    else:
        cache = os.environ.get("XDG_CACHE_HOME")
        with contextlib.suppress(RuntimeError):  # A user without a home.
            yield (Path(cache) if cache else Path.home() / ".cache") / "babelclip"
    yield archive


def archive_key(folder: Path) -> str:
    """A name for an unpacked archive: another for other weights, another dtype or another program."""
    digest = hashlib.sha256((folder / "meta.json").read_bytes())
    for program in sorted(folder.glob("program.*")):
        digest.update(f"{program.name} {program.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def cpu_kind() -> str:
    """A name for CPUs that compute alike: model, and the instructions that a virtual machine lets through."""
    facts = [platform.machine()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        named = (line.partition(":") for line in text.splitlines())
        values = {name.strip(): value.strip() for name, _, value in named}
        facts += [values[fact] for fact in _CPU_FACTS if fact in values]
        flags = {*values.get("flags", "").split(), *values.get("Features", "").split()}
        facts += [flag for flag in _CPU_FLAGS if flag in flags]
    return "-".join("".join(c for c in fact if c.isalnum() or c == "_") for fact in facts)


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One worker at a time where the file system has locks: two trials at once would measure each other."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            lock = stack.enter_context((state / "runtime.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kept(path: Path, placements: Sequence[Placement]) -> Placement | None:
    """The placement that the file names; None where there is no file, or none that can be followed."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        named = record["runtime"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        _log.warning("%s cannot be read, and is written anew: %s", path, error)
        return None
    found = [placement for placement in placements if placement.runtime == named]
    if not found:
        known = ", ".join(placement.runtime for placement in placements)
        _log.warning("%s names the runtime %r; here there are %s: it is written anew", path, named, known)
        return None
    return found[0]


def _keep(path: Path, placements: Sequence[Placement], rates: Mapping[str, float]) -> Placement:
    """Write the winner's file; where another worker was first, follow it."""
    winner = _winner(placements, rates)
    record: dict[str, Any] = {
        "runtime": winner.runtime,
        "rows_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "cpu": cpu_kind(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    handle, written = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(record, indent=2) + "\n")
        try:
            os.link(written, path)  # Unlike a rename, it fails where the file is already there.
        except FileExistsError:
            if (first := _kept(path, placements)) is not None:
                return first
            os.replace(written, path)
        except OSError:  # A file system without links.
            os.replace(written, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written)
    return winner


def _winner(placements: Sequence[Placement], rates: Mapping[str, float]) -> Placement:
    """The first placement that could run, unless another is clearly faster."""
    usable = [placement for placement in placements if placement.runtime in rates]
    if not usable:
        names = ", ".join(placement.runtime for placement in placements)
        raise RuntimeError(f"none of the runtimes {names} can run the tower; the lines above say why")
    fastest = max(usable, key=lambda placement: rates[placement.runtime])
    clear = rates[fastest.runtime] > CLEARLY_FASTER * rates[usable[0].runtime]
    return fastest if clear else usable[0]


def _rates(
    placements: Sequence[Placement], programs: Mapping[str, Path], trial: tuple[Array, ...], threads: int
) -> dict[str, float]:
    """Runtime → rows a second in its best pass over `trial`; one that fails is left out.

    Each is dropped before the next is loaded, so that the start needs no more memory than serving does.
    """
    rates: dict[str, float] = {}
    for placement in placements:
        try:
            run: Callable[..., Any] = runtimes.load(programs[placement.form], placement, threads=threads)
            run(*trial)
            passes = []
            for _ in range(_TRIAL_PASSES):
                start = time.perf_counter()
                run(*trial)
                passes.append(time.perf_counter() - start)
            rates[placement.runtime] = len(trial[0]) / min(passes)
            _log.info("%s: %.1f rows a second", placement.runtime, rates[placement.runtime])
        except Exception as error:
            _log.warning("the runtime %s cannot run the tower: %s", placement.runtime, error)
    return rates
