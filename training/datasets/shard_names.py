"""The tar files that a pattern stands for: braces, as WebDataset writes them, and the shell's wildcards.

shards/{00000..00199}.tar     every name, the missing ones too, which are counted
'shards/*.tar'                what is there
a/{000..099}.tar::b/*.tar     both, as open_clip joins them
"""

import glob
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

from training.datasets.rows import DataError, LeftOut

MAX_SHARDS = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})", re.ASCII)


def find(pattern: str, left_out: LeftOut) -> list[Path]:
    """The shards that are there, in the order of the pattern, what a wildcard stands for by name.

    Of what a wildcard finds only names in .tar count: img2dataset leaves tables and statistics beside them.

    Raises:
        DataError: none is there, two have one name, or strict and one is missing.
    """
    shards: list[Path] = []
    missing: list[str] = []
    names = [name for part in pattern.split("::") for name in expand(part)]
    for name in names:
        if "://" in name or name.startswith("pipe:"):
            raise DataError(f"{name}: shards must be files of this machine, copied or mounted")
        if Path(name).is_file():
            found = [Path(name)]
        elif glob.has_magic(name):
            found = [
                Path(one)
                for one in sorted(glob.glob(name, recursive=True))
                if one.endswith(".tar") and Path(one).is_file()
            ]
        else:
            found = []
        shards += found
        missing += [] if found else [name]
    if not shards:
        if Path(pattern).is_dir():
            raise DataError(
                f"{pattern} is a folder: name the shards in it, as in '{pattern.rstrip('/')}/*.tar'"
            )
        more = f" and none of the {len(names) - 1:,} others" if len(names) > 1 else ""
        raise DataError(f"there is no shard {missing[0]}{more}")
    for name in missing:
        left_out.fault(name, "missing shard", "there is no such file")
    stems: dict[str, Path] = {}
    for shard in shards:
        if stems.setdefault(shard.stem, shard) != shard:
            raise DataError(f"{shard} has the same name as {stems[shard.stem]}; keys would be ambiguous")
    return list(stems.values())


def expand(pattern: str) -> list[str]:
    """The names that a pattern with {000..012} or {train,val} stands for, in order.

    Raises:
        DataError: braces are unbalanced, a range runs backwards, or there would be over a million names.
    """
    parts: list[Sequence[str]] = []
    place = 0
    for braces in _BRACES.finditer(pattern):
        parts.append([pattern[place : braces.start()]])
        parts.append(_choices(braces[1], pattern))
        place = braces.end()
    parts.append([pattern[place:]])
    if any("{" in part[0] or "}" in part[0] for part in parts[::2]):
        raise DataError(f"{pattern}: braces must be like {{000..012}} or {{train,val}}, not within others")
    count = math.prod(len(part) for part in parts)
    if count > MAX_SHARDS:
        raise DataError(f"{pattern} stands for {count:,} names; at most {MAX_SHARDS:,} are allowed")
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _choices(inner: str, pattern: str) -> Sequence[str]:
    found = _RANGE.fullmatch(inner)
    if found is None:
        return inner.split(",")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise DataError(f"{pattern}: the range {inner} runs backwards")
    if last - first >= MAX_SHARDS:
        raise DataError(f"{pattern}: the range {inner} has more than {MAX_SHARDS:,} names")
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]
