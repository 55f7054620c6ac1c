"""Images that training and held-out data share: the same file, or the same picture saved again."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.datasets.decoding import MAX_BYTES, MAX_PIXELS, BrokenImage, Readable, decode, read_whole

MAX_DISTANCE = 4  # differing bits of 64
GRID_PX = 72  # divides into 9 columns and into 8 rows
CHUNK = 1024  # images given to the threads at a time


class Picture(Readable, Protocol):
    @property
    def key(self) -> str: ...


@dataclass(frozen=True)
class Leakage:
    """Pairs of keys (training, held out), and what could not be compared.

    A picture of one colour, or one that nowhere gets brighter to the right, has a hash without a bit: it is
    compared as a file only and counted in `plain`.
    """

    exact: list[tuple[str, str]]
    near: list[tuple[str, str, int]]  # and the distance, 0…MAX_DISTANCE; without the exact ones
    broken: Counter[str]  # by reason
    plain: int


@dataclass(frozen=True)
class Prints:
    """What is compared of each image that could be decoded."""

    keys: list[str]
    digests: list[bytes]  # SHA-256 of the file
    hashes: NDArray[np.uint64]
    broken: Counter[str]


def leakage(
    train: Sequence[Picture],
    held_out: Sequence[Picture],
    *,
    workers: int = 4,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Leakage:
    """Decode every image of both, with `workers` threads, and find what they share."""
    ours = prints(train, workers=workers, max_pixels=max_pixels, max_bytes=max_bytes)
    theirs = prints(held_out, workers=workers, max_pixels=max_pixels, max_bytes=max_bytes)

    by_digest: dict[bytes, list[int]] = {}
    for row, digest in enumerate(ours.digests):
        by_digest.setdefault(digest, []).append(row)
    same = [(row, other) for other, digest in enumerate(theirs.digests) for row in by_digest.get(digest, [])]

    close = near_pairs(ours.hashes, theirs.hashes)
    for pair in same:
        close.pop(pair, None)
    return Leakage(
        exact=[(ours.keys[row], theirs.keys[other]) for row, other in same],
        near=[(ours.keys[row], theirs.keys[other], far) for (row, other), far in sorted(close.items())],
        broken=ours.broken + theirs.broken,
        plain=int((ours.hashes == 0).sum() + (theirs.hashes == 0).sum()),
    )


def prints(images: Sequence[Picture], *, workers: int, max_pixels: int, max_bytes: int) -> Prints:
    """The prints of all images, in their order less the broken ones."""

    def one(image: Picture) -> tuple[str, bytes, int] | BrokenImage:
        try:
            data = read_whole(image, max_bytes)
            pixels = decode(data, size=GRID_PX, max_pixels=max_pixels, max_bytes=max_bytes)
        except BrokenImage as error:
            return error
        return image.key, hashlib.sha256(data).digest(), difference_hash(pixels)

    def all_of_them() -> Iterator[tuple[str, bytes, int] | BrokenImage]:
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(images), CHUNK):
                yield from pool.map(one, images[start : start + CHUNK])

    keys, digests, hashes = [], [], []
    broken: Counter[str] = Counter()
    for found in all_of_them():
        if isinstance(found, BrokenImage):
            broken[found.reason] += 1
        else:
            keys.append(found[0])
            digests.append(found[1])
            hashes.append(found[2])
    return Prints(keys, digests, np.array(hashes, dtype=np.uint64), broken)


def difference_hash(pixels: NDArray[np.uint8]) -> int:
    """uint8 [72, 72, 3] → 64 bits: of an 8-row, 9-column grey image, whether each pixel's right is brighter.

    Of the centre square, like all that is trained on. After N. Krawetz, "Kind of Like That" (2013).
    """
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    small = grey.reshape(8, GRID_PX // 8, 9, GRID_PX // 9).mean(axis=(1, 3))
    # Whole steps of grey, so that even areas give no bits, whatever the last digit says.
    small = np.rint(small)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def near_pairs(
    ours: NDArray[np.uint64], theirs: NDArray[np.uint64], *, most: int = MAX_DISTANCE
) -> dict[tuple[int, int], int]:
    """{(row of ours, row of theirs): Hamming distance ≤ `most`}; hashes without a bit are not compared.

    Of `most` + 1 bands of bits at least one is equal in such a pair, so only those that share a band are
    compared.
    """
    found: dict[tuple[int, int], int] = {}
    edges = np.linspace(0, 64, most + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        mask = np.uint64((1 << int(high)) - (1 << int(low)))
        bands = ours & mask
        order = np.argsort(bands, kind="stable")
        bands = bands[order]
        starts = np.searchsorted(bands, theirs & mask, side="left")
        ends = np.searchsorted(bands, theirs & mask, side="right")
        for other in np.flatnonzero((ends > starts) & (theirs != 0)):
            candidates = order[starts[other] : ends[other]]
            distances = np.bitwise_count(ours[candidates] ^ theirs[other])
            for at in np.flatnonzero((distances <= most) & (ours[candidates] != 0)):
                found[int(candidates[at]), int(other)] = int(distances[at])
    return found
