import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.training.datasets.folders import picture
from training.datasets.examples import Example, Examples, ImageFile
from training.datasets.leakage import difference_hash, leakage, near_pairs
from training.datasets.parallel import Pair, Pairs
from training.datasets.splitting import is_held_out, split


def examples_of(folder: Path, **images: bytes) -> Examples:
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return Examples(Example(name, ("a",), ImageFile(str(folder / name))) for name in images)


def test_a_split_is_the_same_everywhere() -> None:
    """Protects ranks and resumed runs from different splits: these sides are fixed for ever."""
    sides = [is_held_out(f"{number}", share=0.3, seed=1) for number in range(12)]
    assert [number for number, held_out in enumerate(sides) if held_out] == [1, 6, 11]


def test_a_split_parts_by_key_and_about_the_share() -> None:
    """Protects the split: nothing lost, nothing on both sides, neither by order nor by growth."""
    items = [Example(str(n), ("a",), ImageFile("x")) for n in range(2000)]
    train, held_out = split(Examples(items), share=0.2)
    assert {e.key for e in train} | {e.key for e in held_out} == {e.key for e in items}
    assert len(train) + len(held_out) == 2000
    assert 330 < len(held_out) < 470
    backwards, held_out_backwards = split(Examples(items[::-1][:1500]), share=0.2)
    assert {e.key for e in held_out_backwards} <= {e.key for e in held_out}
    assert {e.key for e in backwards} <= {e.key for e in train}
    other = split(Examples(items), share=0.2, seed=1)[1]
    assert {e.key for e in other} != {e.key for e in held_out}
    assert [len(part) for part in split(Examples(items), share=0)] == [2000, 0]
    assert [len(part) for part in split(Examples(items), share=1)] == [0, 2000]


def test_translations_of_a_sentence_stay_together() -> None:
    """Protects the evaluation of distillation from sentences seen in another language."""
    pairs = Pairs(Pair(f"sentence {n}", f"{language} {n}") for n in range(200) for language in ("de", "fr"))
    train, held_out = split(pairs, share=0.5)
    assert not {pair.source for pair in train} & {pair.source for pair in held_out}
    assert len(train) + len(held_out) == 400


def test_a_share_is_within_0_and_1() -> None:
    """Protects from percentages."""
    with pytest.raises(ValueError, match="within 0 and 1, not 20"):
        split(Examples([]), share=20)


def test_leaks_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Protects evaluation from images of the training: the same file, and the same picture saved again."""
    smaller = io.BytesIO()
    large = Image.open(io.BytesIO(picture(2, side=200, kind="PNG")))
    large.resize((90, 90)).save(smaller, "JPEG", quality=70)
    plain = io.BytesIO()
    Image.new("RGB", (80, 80), "white").save(plain, "PNG")
    other_plain = io.BytesIO()
    Image.new("RGB", (90, 90), "black").save(other_plain, "PNG")
    (tmp_path / "train").mkdir()
    (tmp_path / "held_out").mkdir()
    train = examples_of(
        tmp_path / "train",
        same=picture(1),
        saved=picture(2, side=200, kind="PNG"),
        broken=b"no image",
        plain=plain.getvalue(),
        **{f"t{seed}": picture(seed) for seed in range(100, 140)},
    )
    held_out = examples_of(
        tmp_path / "held_out",
        again=picture(1),
        resaved=smaller.getvalue(),
        plain_too=other_plain.getvalue(),
        **{f"h{seed}": picture(seed) for seed in range(200, 240)},
    )
    found = leakage(train, held_out, workers=2)
    assert found.exact == [("same", "again")]
    assert [pair[:2] for pair in found.near] == [("saved", "resaved")]
    assert found.broken == {"image_undecodable": 1}
    assert found.plain == 2


def test_a_hash_has_a_bit_for_each_step_to_the_right() -> None:
    """Protects the hash's definition: brighter to the right is 1, rows from the top are the high bytes."""
    pixels = np.zeros((72, 72, 3), dtype=np.uint8)
    pixels[:9] = np.arange(72, dtype=np.uint8)[:, None] * 3
    assert difference_hash(pixels) == 0xFF << 56
    assert difference_hash(pixels[:, ::-1]) == 0


@given(
    ours=st.lists(st.integers(1, 2**64 - 1), max_size=8),
    theirs=st.lists(st.integers(1, 2**64 - 1), max_size=4),
    flips=st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(0, 63), max_size=6)), max_size=4),
)
@settings(deadline=None, max_examples=60)
def test_bands_miss_no_pair(ours: list[int], theirs: list[int], flips: list[tuple[int, set[int]]]) -> None:
    """Protects the search by bands: it finds exactly what comparing everything with everything finds."""
    for row, bits in flips:
        if row < len(ours):
            theirs = [*theirs, ours[row] ^ sum(1 << bit for bit in bits)]
    due = {
        (i, j): (a ^ b).bit_count()
        for i, a in enumerate(ours)
        for j, b in enumerate(theirs)
        if (a ^ b).bit_count() <= 4 and a and b
    }
    assert near_pairs(np.array(ours, dtype=np.uint64), np.array(theirs, dtype=np.uint64)) == due


def test_four_bits_spread_over_the_hash_are_near() -> None:
    """Protects from one band too few, which loses the pairs that differ everywhere a little."""
    ours = np.array([0x0123456789ABCDEF], dtype=np.uint64)
    theirs = ours ^ np.uint64(1 << 8 | 1 << 24 | 1 << 40 | 1 << 56)
    assert near_pairs(ours, theirs) == {(0, 0): 4}
    assert near_pairs(ours, theirs ^ np.uint64(1)) == {}
