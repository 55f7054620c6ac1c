"""Part a data set into training and held-out, the same way on every rank, machine and day."""

import hashlib
from typing import Any, TypeVar

from training.datasets.examples import Keyed, Packed

Item = TypeVar("Item", bound=Keyed)
Part = TypeVar("Part", bound=Packed[Any])


def is_held_out(key: str, *, share: float, seed: int = 0) -> bool:
    """Whether a key is held out: the SHA-256 of seed and key, as a fraction, is below `share`.

    It depends on nothing else, so a data set may grow or change its order and no key changes sides.
    """
    digest = hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(dataset: Part, *, share: float, seed: int = 0) -> tuple[Part, Part]:
    """(training, held out), each in the order of the data set; about `share` of the keys is held out.

    Captions of one image, and translations of one sentence, have one key and stay together.

    Raises:
        ValueError: `share` is not within 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share that is held out must be within 0 and 1, not {share}")
    sides = [is_held_out(item.key, share=share, seed=seed) for item in dataset]
    kept = [index for index, held_out in enumerate(sides) if not held_out]
    return dataset.take(kept), dataset.take([index for index, held_out in enumerate(sides) if held_out])
