"""Which rows are taken for duplicates, and which of them is the best."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from babelclip.dedup import DedupCancelled, DuplicateGroups, Limits, Splits, find_duplicates
from babelclip.index import InvalidFilter, Row
from tests.clients.dedup.photographs import encoded, make_index, picture, row, vector


def names(found: DuplicateGroups) -> dict[str, dict[str, str]]:
    """By the best of each group: its duplicates, and of which kind they are."""
    return {
        group.best.source: {one.row.source: one.match.kind for one in group.duplicates}
        for group in found.groups
    }


def others(count: int = 12) -> list[Row]:
    return [row(f"other-{n}.jpg", encoded(picture(100 + n)), vector(100 + n)) for n in range(count)]


def test_the_same_picture_in_other_forms_is_one_group(tmp_path: Path) -> None:
    """A copy, a smaller one, a cut one and the mirror image belong to the largest; nothing else does."""
    original = picture(1, (320, 240))
    data = encoded(original)
    small = encoded(original.resize((100, 75)), quality=50)
    cut = encoded(original.crop((16, 12, 310, 230)))
    mirrored = encoded(ImageOps.mirror(original), quality=40)
    rows = [
        row("b.jpg", data, vector(1)),
        row("a.jpg", data, vector(1)),
        row("small.jpg", small, vector(2, near=1, cosine=0.9)),
        row("cut.jpg", cut, vector(3, near=1, cosine=0.85)),
        # Found by its hash alone: its vector is as far away as any.
        row("mirrored.jpg", mirrored, vector(4)),
        *others(),
    ]
    with make_index(tmp_path, rows) as index:
        found = find_duplicates(index)
    assert names(found) == {
        "a.jpg": {"b.jpg": "exact", "mirrored.jpg": "near", "cut.jpg": "near", "small.jpg": "near"}
    }
    assert (found.rows, found.duplicates, found.without_thumbnail) == (17, 4, 0)
    (group,) = found.groups
    assert group.kind == "near"
    by_name = {one.row.source: one.match for one in group.duplicates}
    assert by_name["mirrored.jpg"].mirrored
    assert not by_name["small.jpg"].mirrored
    assert by_name["small.jpg"].agreement is not None
    assert by_name["small.jpg"].agreement > 0.95


def test_another_thing_before_the_same_ground_is_no_duplicate(tmp_path: Path) -> None:
    """A small part that differs keeps two pictures apart, however much the rest agrees."""
    ground = picture(1, (256, 192))
    changed = ground.copy()
    changed.paste(ImageOps.invert(ground.crop((60, 40, 124, 104))), (60, 40))
    rows = [
        row("ground.jpg", encoded(ground), vector(1)),
        row("changed.jpg", encoded(changed), vector(2, near=1, cosine=0.95)),
        *others(4),
    ]
    with make_index(tmp_path, rows) as index:
        assert not find_duplicates(index).groups
        assert find_duplicates(index, limits=Limits(agreement=0.5, difference=1.0)).groups


def test_plain_images_are_told_apart_by_their_colour(tmp_path: Path) -> None:
    """Images of one colour all have one hash and correlate with nothing; red is no duplicate of blue."""
    rows = [
        row("red.jpg", encoded(Image.new("RGB", (64, 64), "red")), vector(1)),
        row("large-red.jpg", encoded(Image.new("RGB", (96, 96), "red")), vector(2)),
        row("blue.jpg", encoded(Image.new("RGB", (80, 80), "blue")), vector(3)),
        *others(3),
    ]
    with make_index(tmp_path, rows) as index:
        assert names(find_duplicates(index)) == {"large-red.jpg": {"red.jpg": "near"}}


def test_semantic_duplicates_are_asked_for(tmp_path: Path) -> None:
    """Vectors alone make duplicates only where `semantic` is among the kinds, and from the limit on."""
    rows = [
        row("one.jpg", encoded(picture(1)), vector(1)),
        row("two.jpg", encoded(picture(2, (80, 60))), vector(2, near=1, cosine=0.98)),
        row("three.jpg", encoded(picture(3)), vector(3, near=1, cosine=0.9)),
        *others(3),
    ]
    with make_index(tmp_path, rows) as index:
        assert not find_duplicates(index).groups
        found = find_duplicates(index, kinds=("semantic",))
        assert names(found) == {"one.jpg": {"two.jpg": "semantic"}}
        found = find_duplicates(index, kinds=("semantic",), limits=Limits(cosine=0.89))
        assert names(found) == {"one.jpg": {"two.jpg": "semantic", "three.jpg": "semantic"}}


def test_a_chain_does_not_become_one_group(tmp_path: Path) -> None:
    """Where each resembles the next, only what resembles the best itself goes with it."""
    chain = [vector(1)]
    for step in range(1, 5):  # Each of the same cosine with the one before, in one plane.
        other = vector(9, near=1, cosine=0.0)
        chain.append((chain[0] * math.cos(0.2 * step) + other * math.sin(0.2 * step)).astype("float32"))
    rows = [row(f"{n}.jpg", encoded(picture(n + 1, (200 - n, 100))), one) for n, one in enumerate(chain)]
    with make_index(tmp_path, rows) as index:
        found = find_duplicates(index, kinds=("semantic",), limits=Limits(cosine=0.97))
    assert names(found) == {"0.jpg": {"1.jpg": "semantic"}, "2.jpg": {"3.jpg": "semantic"}}


def test_the_best_has_most_pixels_then_bytes_then_age(tmp_path: Path) -> None:
    """The order that says which of a group stays."""
    image = picture(1, (200, 150))
    data = encoded(image)
    older = row("z.jpg", data, vector(1), taken=1.0e9)
    rows = [
        older,
        replace(older, id="newer", source="a.jpg", taken=1.1e9),
        replace(older, id="undated", source="b.jpg", taken=None),
        row("heavy.jpg", encoded(image, quality=100), vector(1), taken=1.2e9),
        row("large.jpg", encoded(image.resize((220, 165)), quality=30), vector(1)),
    ]
    with make_index(tmp_path, rows) as index:
        (group,) = find_duplicates(index).groups
    order = [group.best.source, *(one.row.source for one in group.duplicates)]
    assert order == ["large.jpg", "heavy.jpg", "z.jpg", "a.jpg", "b.jpg"]


def test_without_thumbnails_equal_hashes_decide(tmp_path: Path) -> None:
    """Rows without a sound thumbnail are duplicates only by nearly equal hashes; they are counted."""
    image = picture(1)
    rows = [
        row("one.jpg", encoded(image), vector(1), thumbnail=b""),
        row("two.jpg", encoded(image, quality=70), vector(1), thumbnail=b"\xff\xd8\xff broken"),
        row("three.jpg", encoded(picture(2)), vector(1), thumbnail=b""),
    ]
    with make_index(tmp_path, rows) as index:
        found = find_duplicates(index)
    assert names(found) == {"one.jpg": {"two.jpg": "near"}}
    assert found.without_thumbnail == 3


def test_between_splits(tmp_path: Path) -> None:
    """A leak is a group over several splits; the image of the split that is named last stays."""
    data = encoded(picture(1, (200, 150)))
    small = encoded(picture(1, (200, 150)).resize((120, 90)))
    rows = [
        row("train.jpg", data, vector(1), collection="a", metadata={"part": "train"}),
        row("test.jpg", small, vector(1), collection="b", metadata={"part": "test"}),
        row("neither.jpg", data, vector(1), collection="c"),
        *(replace(one, collection="a") for one in others(3)),
    ]
    by_collection = Splits(names=("train", "test"), collections={"a": "train", "b": "test"})
    by_field = Splits(names=("train", "test"), field="part")
    with make_index(tmp_path, rows, part="text") as index:
        for splits, compared in ((by_collection, 5), (by_field, 2)):
            found = find_duplicates(index, splits=splits)
            assert names(found) == {"test.jpg": {"train.jpg": "near"}}
            assert found.rows == compared
            assert [group.splits for group in found.leaks] == [("test", "train")]
            assert found.leaked_rows() == {("train", "test"): 1, ("test", "train"): 1}
        assert not find_duplicates(index).leaks


def test_what_is_compared(tmp_path: Path) -> None:
    """Moments of films and rows without a vector are left out, and what a filter does not keep."""
    data = encoded(picture(1))
    one = row("one.jpg", data, vector(1))
    rows = [
        one,
        replace(one, id="moment", kind="moment", begin=1.0, end=2.0),
        replace(one, id="failed", vector=None, error_code="image_undecodable", error_message="no"),
        replace(one, id="album", source="two.jpg", caption="left out"),
    ]
    with make_index(tmp_path, rows) as index:
        found = find_duplicates(index, where={"caption": {"$ne": "left out"}})
        assert (found.rows, list(found.groups)) == (1, [])
        assert find_duplicates(index).rows == 2
        with pytest.raises(InvalidFilter):
            find_duplicates(index, where={"no such field": 1})
        with pytest.raises(ValueError, match="kinds of duplicates are"):
            find_duplicates(index, kinds=("nearly",))
        index.delete(where={})
        assert find_duplicates(index).rows == 0


def test_it_tells_how_far_it_is_and_can_be_cancelled(tmp_path: Path) -> None:
    """Progress only grows and ends at its total; who asks for it gets the search stopped."""
    with make_index(tmp_path, others()) as index:
        told: list[tuple[int, int]] = []
        find_duplicates(index, progress=lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1] == (36, 36)
        with pytest.raises(DedupCancelled):
            find_duplicates(index, cancelled=lambda: True)


@pytest.mark.parametrize("wrong", [{"agreement": 0.2}, {"hash_distance": 12}, {"cosine": 1.5}])
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """A limit that cannot be meant is an error that names the range."""
    with pytest.raises(ValueError, match="must be from"):
        Limits(**wrong)  # type: ignore[arg-type]
