"""How many processes serve each tower: as many as the cores keep busy and the memory holds."""

import contextlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.model_store.archives import archives
from babelclip.model_store.manifest import Entry
from handlers.runtime.machine import usable_cores, usable_memory

# One pass over a batch leaves cores idle where there are many. A rule of thumb, measured on no large machine.
CORES_A_WORKER = 8

MB, GB = 10**6, 10**9
# What a worker holds beside its program: Python, a runtime, torch, which TorchServe imports, what is decoded.
PROCESS = {"text": 420 * MB, "vision": 350 * MB}
# Java beside its heap, TorchServe's launcher and this process.
FRONT_END = 300 * MB
# Of what Java takes for its heap where it is not told: a share of the memory.
DEFAULT_HEAP_SHARE = 0.25
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Needs:
    """Bytes of memory that a server takes."""

    front_end: int
    """Whatever the number of workers."""
    workers: int
    """One worker of each tower of each space."""


def count_workers(
    asked: int,
    store: Path,
    spaces: Iterable[Entry],
    properties: Mapping[str, str],
    *,
    say: Callable[[str], None],
) -> int:
    """Return how many workers serve each tower of the spaces; the operator is told where memory has a say.

    `asked` is the operator's number, 0 for the best; `properties` are those of the configuration.
    """
    cores, memory = usable_cores(), usable_memory()
    towers = [(tower, mar.path) for space in spaces for tower, mar in archives(store, space).items()]
    count, sentence = choose(asked, cores=cores, memory=memory, needed=needs(towers, properties, memory))
    if sentence:
        say(f"serve: {sentence}")
    return count


def needs(towers: Iterable[tuple[str, Path]], properties: Mapping[str, str], memory: int) -> Needs:
    """An estimate of what a server with these archives (tower, MAR) and settings needs at most.

    A worker needs PROCESS, twice the bytes of the largest form of its program (a runtime packs weights into
    a form of its own, and widens stored bfloat16), and thirty times those of tokenizer.json (of which the
    library makes 0.9 KB for each piece). That is above what was measured: 344 MB for the text tower of
    `mini` where 500 are estimated, 293 of 376 for its images, 1,017 of XLM-R base in bfloat16, whose
    program alone counts 1,128. The front end needs its heap, `-Xmx` of vmargs, and FRONT_END.
    """
    heap = heap_bytes(properties.get("vmargs", ""))
    return Needs(
        front_end=FRONT_END + (int(DEFAULT_HEAP_SHARE * memory) if heap is None else heap),
        workers=sum(PROCESS[tower] + _loaded(archive) for tower, archive in towers),
    )


def heap_bytes(vmargs: str) -> int | None:
    """What Java may take for its heap by its last -Xmx; None without one."""
    found = re.findall(r"(?:^|\s)-Xmx(\d{1,18})([kmgt]?)(?=\s|$)", vmargs, re.IGNORECASE | re.ASCII)
    return int(found[-1][0]) * UNITS[found[-1][1].lower()] if found else None


def _loaded(archive: Path) -> int:
    """Bytes of a program and a tokenizer in memory; 0 where it is no archive, which its worker will say."""
    forms: Counter[str] = Counter()
    tokenizer = 0
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            stem, _, endings = member.filename.partition(".")
            if stem == "program":
                forms[endings.partition(".")[0]] += member.file_size
            elif member.filename == "tokenizer.json":
                tokenizer = member.file_size
    return 2 * max(forms.values(), default=0) + 30 * tokenizer


def choose(asked: int, *, cores: int, memory: int, needed: Needs) -> tuple[int, str]:
    """Workers of each tower, and a sentence for the operator where memory has a say in it, else "".

    `asked` is taken as it is; 0 takes one for every CORES_A_WORKER cores, as far as `memory` (bytes that may
    still be taken) holds them, and at least one.
    """
    fit = max(0, (memory - needed.front_end) // max(1, needed.workers))
    wanted = asked or max(1, cores // CORES_A_WORKER)
    count = wanted if asked else max(1, min(wanted, fit))
    if count > fit:
        most = needed.front_end + count * needed.workers
        other = f"ask for --workers {fit}" if fit else "lower -Xmx in config.properties"
        return count, (
            f"{_workers(count)} may need {most / GB:.1f} GB of memory and {memory / GB:.1f} GB can be had: "
            f"when it runs short the system ends processes; give it more, or {other}"
        )
    if count < wanted:
        return count, (
            f"{_workers(count)}, which is what {memory / GB:.1f} GB of memory hold; "
            f"the {cores} cores would take {wanted}"
        )
    return count, ""


def _workers(count: int) -> str:
    return "one worker a tower" if count == 1 else f"{count} workers a tower"
