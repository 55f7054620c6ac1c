"""Searches of an index by a model, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip import (
    Calibration,
    Client,
    ItemErrors,
    ModelNotFound,
    SearchCalibration,
    Searcher,
    SpaceMismatch,
    Term,
)
from babelclip.index import Index, InvalidFilter, Row, Settings, create_index
from babelclip.search.query import InvalidQuery
from babelclip.testing import InMemoryTransport
from babelclip.transports.base import Call

SPACE = "in-memory"
SETTINGS = Settings(space=SPACE, dim=4, version="1.0", fields={"album": "text"})
BEACH, PEOPLE, FOREST, CITY = np.eye(4, dtype=np.float32)
MODEL: dict[Any, Any] = {"beach": BEACH, "people": PEOPLE, "forest": FOREST, "nothing": CITY, b"photo": BEACH}
CALIBRATION = SearchCalibration(
    SPACE,
    text=Calibration(SPACE, slope=40.0, offset=-20.0, pairs=100, others=0.0),
    image=Calibration(SPACE, slope=40.0, offset=-32.0, pairs=100, others=0.0),
)


class Versions:
    """A server of two models, of which 1.0 is the default."""

    def __init__(self, *, both: bool = True) -> None:
        self.models = {
            "1.0": InMemoryTransport(dim=4, vectors=MODEL, failing={"bad": ("text_too_long", "no")})
        }
        if both:
            newer = {name: np.roll(vector, 1) for name, vector in MODEL.items()}
            self.models["2.0"] = InMemoryTransport(space="newer", version="2.0", dim=4, vectors=newer)

    def send(self, call: Call) -> bytes:
        if call.version is not None and call.version not in self.models:
            raise ModelNotFound(f"there is no version {call.version}")
        return self.models[call.version or "1.0"].send(call)

    def close(self) -> None:
        pass


def rows(turn: int = 0) -> list[Row]:
    """Three photographs, a near-duplicate of the first, and one that failed."""
    vectors = {
        "empty beach": BEACH,
        "the same beach": BEACH + 0.1 * FOREST,
        "full beach": BEACH + 0.9 * PEOPLE,
        "wood": FOREST + 0.2 * PEOPLE,
    }
    found = [
        Row(
            id=name,
            source=f"{name}.jpg",
            vector=np.roll(vector / np.linalg.norm(vector), turn).astype(np.float32),
            metadata={"album": "sea" if "beach" in name else "land"},
        )
        for name, vector in vectors.items()
    ]
    return [*found, Row(id="broken", source="broken.jpg", error_code="image_undecodable", error_message="no")]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with create_index(tmp_path_factory.mktemp("search") / "index", SETTINGS) as made:
        made.upsert(rows(), space=SPACE)
        yield made


@pytest.fixture(scope="module")
def searcher(index: Index) -> Searcher:
    return Searcher(index, Client("", transport=Versions()))


@pytest.fixture(scope="module")
def calibrated(index: Index) -> Searcher:
    return Searcher(index, Client("", transport=Versions()), CALIBRATION)


def ids(found: Any) -> list[str]:
    return [hit.row.id for hit in found.hits]


def test_what_is_wanted_comes_first_and_what_is_avoided_last(searcher: Searcher) -> None:
    """A text ranks rows, and what begins with a dash moves away what shows it."""
    assert ids(searcher.search("beach", diverse=False)) == [
        "empty beach",
        "the same beach",
        "full beach",
        "wood",
    ]
    found = searcher.search("beach -people", diverse=False)
    assert ids(found)[:2] == ["empty beach", "the same beach"]
    assert found.hits[0].cosine == pytest.approx(1 / np.sqrt(1.25), abs=1e-5)
    assert (found.space, found.version, found.fits, found.threshold) == (SPACE, "1.0", True, None)
    assert found.hits[0].row.source == "empty beach.jpg"


def test_images_and_rows_are_terms_too(searcher: Searcher) -> None:
    """An image, a row and a text together are one query, each by its weight."""
    assert ids(searcher.search([Term(image=b"photo")], top=1)) == ["empty beach"]
    assert ids(searcher.search([Term(image=b"photo"), Term(text="people", weight=0.9)], top=1)) == [
        "full beach"
    ]
    assert ids(searcher.search([Term(like="wood", weight=2.0), Term(text="beach")], top=1)) == [
        "the same beach"
    ]


def test_a_row_is_not_among_those_like_it(searcher: Searcher) -> None:
    """More like this needs no model, and this is not among it."""
    assert ids(searcher.similar("empty beach", top=2)) == ["the same beach", "full beach"]


def test_a_burst_takes_one_place(searcher: Searcher) -> None:
    """Near-duplicates are named by the hit that stands for them."""
    first = searcher.search("beach", top=1)
    assert (first.hits[0].row.id, first.hits[0].duplicates) == ("empty beach", ("the same beach",))
    assert first.next_offset == 2
    assert ids(searcher.search("beach", top=1, offset=2)) == ["full beach"]


def test_filters_choose_what_is_compared(searcher: Searcher) -> None:
    """A filter leaves the rows that it keeps, and one that is not valid is refused."""
    assert ids(searcher.search("beach", where={"album": "land"})) == ["wood"]
    with pytest.raises(InvalidFilter):
        searcher.search("beach", where={"albm": "land"})


def test_nothing_fits_is_said(calibrated: Searcher) -> None:
    """A query that nothing answers has no hits but a threshold; what fits has its probability."""
    nothing = calibrated.search("nothing")
    assert (nothing.hits, nothing.fits) == ((), False)
    assert nothing.threshold == pytest.approx(0.5 + np.log(4) / 2 / 40)
    found = calibrated.search("forest")
    assert ids(found) == ["wood"]
    assert found.hits[0].probability == pytest.approx(1.0, abs=1e-3)
    assert not calibrated.search([Term(image=b"photo"), Term(text="nothing", weight=3.0)]).fits


def test_the_threshold_is_the_callers_to_choose(calibrated: Searcher) -> None:
    """A number is a cosine; without a cut all rows are there, and the threshold is told nevertheless."""
    assert ids(calibrated.search("beach", threshold=0.99)) == ["empty beach"]
    everything = calibrated.search("nothing", threshold=None, diverse=False)
    assert (len(everything.hits), everything.fits) == (4, False)
    assert everything.threshold is not None


@pytest.mark.parametrize("threshold", ["none", float("nan"), 2.0])
def test_a_threshold_that_cannot_be_is_refused(searcher: Searcher, threshold: Any) -> None:
    """A threshold is a word, nothing, or a cosine."""
    with pytest.raises(InvalidQuery, match="threshold"):
        searcher.search("beach", threshold=threshold)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([], "1 to 64"),
        ("  ", "empty"),
        ([Term(like="unknown")], "no row"),
        ([Term(like="broken")], "no vector"),
        ([Term(text="beach"), Term(text="beach", weight=-1.0)], "cancel"),
    ],
    ids=str,
)
def test_a_query_that_cannot_be_is_explained(searcher: Searcher, query: Any, words: str) -> None:
    """What cannot be searched for is refused with the reason, before or after it is embedded."""
    with pytest.raises(InvalidQuery, match=words):
        searcher.search(query)


def test_a_term_that_cannot_be_embedded_is_an_error(searcher: Searcher) -> None:
    """The search of a query whose text has no vector fails with that text's error."""
    with pytest.raises(ItemErrors, match="text_too_long"):
        searcher.search("bad")


def test_letters_that_the_model_does_not_know_are_told(index: Index) -> None:
    """Results name the texts whose vectors say little."""
    transport = InMemoryTransport(dim=4, unknown=["ᚠᚢᚦ"])
    assert Searcher(index, Client("", transport=transport)).search("ᚠᚢᚦ").unknown == ("ᚠᚢᚦ",)


def test_a_calibration_of_another_space_is_refused(index: Index) -> None:
    """Cosines of another model say nothing about this index."""
    with pytest.raises(SpaceMismatch, match="calibrate again"):
        Searcher(index, Client("", transport=Versions()), Calibration("other", 1.0, 0.0, 100))


def test_a_search_follows_the_index_to_another_model(tmp_path: Path) -> None:
    """After a promotion queries are embedded by the newer version, in searches that were made before, too."""
    server = Versions()
    with create_index(tmp_path / "index", SETTINGS) as index:
        index.upsert(rows(), space=SPACE)
        searcher = Searcher(index, Client("", transport=server), CALIBRATION)
        assert searcher.search("beach").threshold is not None
        assert (searcher.index, searcher.client.space, searcher.calibration) == (index, SPACE, CALIBRATION)
        newer = Settings(space="newer", dim=4, version="2.0")
        with index.begin_generation("2", newer) as filled:
            filled.upsert(rows(turn=1), space="newer")
        index.promote("2")
        del server.models["1.0"]
        found = searcher.search("forest")
        assert (ids(found)[0], found.space, found.version, found.threshold) == ("wood", "newer", "2.0", None)
        assert (searcher.client.space, searcher.calibration) == ("newer", None)


class Moving:
    """An index that moves to another model while it is searched for the first time."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.moved = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, *args: Any, **settings: Any) -> Any:
        if not self.moved:
            self.moved = True
            self._index.promote("2")
        return self._index.search(*args, **settings)


def test_a_promotion_in_the_middle_of_a_search_is_met(tmp_path: Path) -> None:
    """A query that was embedded by the model of before is embedded again, and nothing is mixed."""
    with create_index(tmp_path / "index", SETTINGS) as index:
        index.upsert(rows(), space=SPACE)
        with index.begin_generation("2", Settings(space="newer", dim=4, version="2.0")) as filled:
            filled.upsert(rows(turn=1), space="newer")
        moving: Any = Moving(index)
        found = Searcher(moving, Client("", transport=Versions())).search("forest", top=1)
        assert moving.moved
        assert (ids(found), found.space) == (["wood"], "newer")


def test_a_server_without_the_model_of_the_index_is_an_error(tmp_path: Path) -> None:
    """Where nobody serves the space of the index, the search says so instead of mixing spaces."""
    with create_index(tmp_path / "index", Settings(space="newer", dim=4, version="2.0")) as index:
        index.upsert(rows(turn=1), space="newer")
        with pytest.raises(SpaceMismatch):
            Searcher(index, Client("", transport=Versions(both=False))).search("beach")
