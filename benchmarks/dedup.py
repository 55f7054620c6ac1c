"""Duplicates that were planted, and those that are found: precision, recall, and time by the number of rows.

    python -m benchmarks.dedup [--images 10000] [--planted 1000] [--rows 1000 10000 100000] [--quick]

Images are drawn from a seed, no two of one motif; some are planted again resized, re-encoded, cropped,
flipped, recoloured, or all of it. Vectors are those of the committed model, in this process. A pair counts as
found where both are in one group. `growth` is how much longer a row takes among the most rows than among the
fewest, with synthetic vectors of 512 values beside real thumbnails; 1 is linear.
"""

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from babelclip import Client
from babelclip.dedup import DuplicateGroups, find_duplicates
from babelclip.index import Index, Row, Settings, create_index, row_id
from babelclip.ingest.images import describe_image
from benchmarks.support import planted, report, towers
from benchmarks.support.options import make_parser, parse
from handlers.runtime.machine import usable_cores

BATCH = 256
DIM = 512  # of synthetic vectors
SYNTHETIC = "synthetic"
PICTURES = 1000  # real thumbnails that synthetic rows share


def original(number: int) -> tuple[Row, bytes]:
    """The row and the bytes of an image that is no duplicate of another."""
    return _row(f"{number}", planted.encode(planted.original(number)))


def duplicate(number: int, originals: int) -> tuple[Row, bytes]:
    """The row and the bytes of a planted duplicate; its source names its original and its edit."""
    random = np.random.default_rng([2, number])
    kinds = list(planted.EDITS)
    kind, of = kinds[number % len(kinds)], int(random.integers(originals))
    return _row(f"{of} {kind} {number}", planted.EDITS[kind](planted.original(of), random))


def _row(source: str, data: bytes) -> tuple[Row, bytes]:
    details = describe_image(data)
    row = Row(
        id=row_id(source),
        source=source,
        size=len(data),
        width=details.width,
        height=details.height,
        thumbnail=details.thumbnail,
        perceptual_hash=details.perceptual_hash,
        checksum=details.checksum,
    )
    return row, data


def drawn(images: int, duplicates: int) -> list[tuple[Row, bytes]]:
    """So many rows, of which some are planted duplicates of the others."""
    originals = images - duplicates
    with ProcessPoolExecutor(usable_cores()) as pool:
        made = list(pool.map(original, range(originals), chunksize=32))
        numbers = range(duplicates)
        return made + list(pool.map(duplicate, numbers, [originals] * duplicates, chunksize=32))


def embedded(rows: Sequence[tuple[Row, bytes]], client: Client) -> Iterator[list[Row]]:
    """The same rows with the vectors of the model, in batches."""
    for begin in range(0, len(rows), BATCH):
        part = rows[begin : begin + BATCH]
        vectors = client.embed_images([data for _, data in part]).vectors
        yield [replace(row, vector=vector) for (row, _), vector in zip(part, vectors, strict=True)]


def judged(found: DuplicateGroups, rows: Sequence[Row]) -> tuple[float, float, dict[str, float]]:
    """Precision and recall of pairs, and the recall of each kind of edit."""
    copies = defaultdict(list)
    for row in rows:
        copies[row.source.split()[0]].append(row.source)
    true = {frozenset(pair) for sources in copies.values() for pair in combinations(sources, 2)}
    pairs = set()
    for group in found.groups:
        sources = [group.best.source, *(one.row.source for one in group.duplicates)]
        pairs |= {frozenset(pair) for pair in combinations(sources, 2)}
    kinds: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for pair in true:
        edits = [_edit(source) for source in pair if " " in source]
        if len(edits) == 1:  # Of two edits of one original neither is the reason.
            kinds[edits[0]] += 1
            right[edits[0]] += pair in pairs
    precision = len(pairs & true) / max(1, len(pairs))
    recall = len(pairs & true) / max(1, len(true))
    return precision, recall, {kind: round(right[kind] / kinds[kind], 4) for kind in kinds}


def _edit(source: str) -> str:
    return source.partition(" ")[2].rpartition(" ")[0]


def accuracy(images: int, duplicates: int, folder: Path) -> dict[str, Any]:
    """The planted duplicates, found."""
    rows = drawn(images, duplicates)
    with Client(f"mar:{towers.mini_store()}") as client:
        dim = client.embed_texts(["dim"]).dim
        with create_index(folder / "planted", Settings(space=SYNTHETIC, dim=dim)) as index:
            for part in embedded(rows, client):
                index.upsert(part, space=SYNTHETIC)
            seconds, found = timed(index)
    precision, recall, kinds = judged(found, [row for row, _ in rows])
    return {
        "images": images,
        "planted": duplicates,
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "seconds": round(seconds, 1),
        "recall_by_edit": kinds,
    }


def timed(index: Index) -> tuple[float, DuplicateGroups]:
    began = time.perf_counter()
    found = find_duplicates(index)
    return time.perf_counter() - began, found


def seconds_of(count: int, pictures: Sequence[Row], folder: Path) -> float:
    """Among so many rows: clusters of vectors, hashes as of other images, thumbnails of a thousand."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(max(1, count // 50), DIM)).astype(np.float32)
    with create_index(folder / f"{count}", Settings(space=SYNTHETIC, dim=DIM)) as index:
        for begin in range(0, count, 10_000):
            size = min(10_000, count - begin)
            vectors = centres[random.integers(len(centres), size=size)]
            vectors = vectors + 0.5 * random.normal(size=(size, DIM)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            hashes = random.integers(0, 2**64, size, dtype=np.uint64)
            which = random.integers(len(pictures), size=size)
            index.upsert(
                [
                    Row(
                        id=f"{begin + place:08d}",
                        source=f"{begin + place}",
                        vector=vectors[place],
                        perceptual_hash=f"{hashes[place]:016x}",
                        thumbnail=pictures[which[place]].thumbnail,
                    )
                    for place in range(size)
                ],
                space=SYNTHETIC,
            )
        return timed(index)[0]


def main() -> None:
    parser = make_parser("dedup", __doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--planted", type=int, default=1000, help="of these images")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options = parse(parser, {"images": 60, "planted": 12, "rows": [100, 200]})
    folder = towers.FOLDER / "dedup"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = accuracy(options.images, options.planted, folder)
    pictures = [original(number)[0] for number in range(min(PICTURES, options.images))]
    times = {count: seconds_of(count, pictures, folder) for count in sorted(options.rows)}
    shutil.rmtree(folder)
    rates = [times[count] / count for count in times]
    report.table(
        "Planted duplicates",
        ["edit", "recall"],
        [*found["recall_by_edit"].items(), ["all", found["recall"]], ["precision", found["precision"]]],
    )
    report.table("Synthetic rows", ["rows", "seconds"], [[count, times[count]] for count in times])
    found["growth"] = round(rates[-1] / rates[0], 2)
    found["seconds_of_rows"] = {str(count): round(times[count], 1) for count in times}
    report.finish("dedup", found, {})


if __name__ == "__main__":
    main()
