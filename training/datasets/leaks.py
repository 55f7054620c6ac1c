"""Find the images that training and held-out data share, as the same file or as the same picture saved again.

    python -m training.datasets.leaks --format coco --data train.json --images train2017 \\
        --against val.json --against-images val2017
    python -m training.datasets.leaks --format table --data captions.tsv --held-out 0.05 --seed 0

With --against the two data sets are compared; without it, the two parts that `training.stages.contrastive`
makes of one by --held-out and --seed. Each shared pair is a line of JSON in --output, and the first ones are
shown.

Exit codes: 0 nothing is shared, 1 something is, 2 wrong usage, 3 the data cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from training.arguments import positive
from training.datasets import captioned, splitting
from training.datasets.examples import Examples
from training.datasets.leakage import Leakage, leakage
from training.datasets.rows import DataError

SHOWN = 10
SHARED, UNREADABLE = 1, 3


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m training.datasets.leaks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    captioned.add(found)
    flag = found.add_argument_group("what it is compared with").add_argument
    flag("--against", help="held-out data in the same format")
    flag("--against-images", type=Path, help="the folder that its file names are in (default: --images)")
    flag("--held-out", type=float, default=0.05, help="without --against: share of the keys that is held out")
    flag("--seed", type=int, default=0, help="without --against: of the split")
    found.add_argument("--threads", type=positive, default=4, help="images decoded at a time")
    found.add_argument("--output", type=Path, help="all shared pairs as JSON lines")
    return found


def parts(options: argparse.Namespace) -> tuple[Examples, Examples]:
    """(training, held out).

    Raises:
        DataError: files are missing or of another layout.
        ValueError: --held-out is no share.
    """
    ours = captioned.read(options)
    if options.against is None:
        return splitting.split(ours, share=options.held_out, seed=options.seed)
    images = options.against_images or options.images
    return ours, captioned.read(
        argparse.Namespace(**{**vars(options), "data": options.against, "images": images})
    )


def pairs_of(found: Leakage) -> list[dict[str, str | int]]:
    """One row per shared pair; `distance` counts the bits that differ of 64, 0 for the same file too."""
    rows: list[dict[str, str | int]] = [
        {"training": ours, "held_out": theirs, "kind": "same file", "distance": 0}
        for ours, theirs in found.exact
    ]
    rows += [
        {"training": ours, "held_out": theirs, "kind": "near duplicate", "distance": far}
        for ours, theirs, far in found.near
    ]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; return the exit code."""
    options = parser().parse_args(arguments)
    try:
        training, held_out = parts(options)
    except (DataError, ValueError) as error:
        print(f"training.datasets.leaks: {error}", file=sys.stderr)
        return UNREADABLE
    found = leakage(training, held_out, workers=options.threads)
    rows = pairs_of(found)
    if options.output is not None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        options.output.write_text("".join(lines), encoding="utf-8")
    for row in rows[:SHOWN]:
        print(f"{row['kind']}: {row['training']} and {row['held_out']}, {row['distance']} bits of 64 differ")
    if len(rows) > SHOWN:
        print(f"… and {len(rows) - SHOWN} more; --output has them all")
    for reason, count in found.broken.items():
        print(f"not compared, {reason}: {count}")
    if found.plain:
        print(f"compared as files only, pictures without a gradient: {found.plain}")
    print(
        f"{len(training)} images to train on, {len(held_out)} held out: {len(found.exact)} the same file, "
        f"{len(found.near)} near duplicates"
    )
    return SHARED if rows else 0


if __name__ == "__main__":
    sys.exit(main())
