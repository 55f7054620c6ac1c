"""Filters mean the same in the engines as in plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from babelclip.index import Index, Row, Settings, create_index
from tests.clients.index.engines import ENGINES, new_address
from tests.clients.index.evaluation import keeps

FIELDS = {"album": "text", "year": "integer", "score": "number", "good": "boolean"}
ALBUMS = ("sea", "it's", 'say "x"', "back\\slash", "100%", "a_b", "海", "")
COLLECTIONS = ("/photos", "/films")


def values(index: int) -> dict[str, Any]:
    """What a row has to filter by; every field is missing in some."""
    found = {
        "album": ALBUMS[index % len(ALBUMS)],
        "year": 1990 + index % 7,
        "score": index / 4 - 3,
        "good": index % 2 == 0,
    }
    return {name: value for place, (name, value) in enumerate(found.items()) if index % (place + 5)}


ROWS = [values(index) for index in range(36)]
PLAIN = [
    {**dict.fromkeys(FIELDS), **row, "width": 100 * index, "collection": COLLECTIONS[index % 2]}
    for index, row in enumerate(ROWS)
]


@pytest.fixture(scope="module", params=ENGINES)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    address = new_address(request, request.param, tmp_path_factory.mktemp("filters"))
    with create_index(address, Settings(space="s", dim=2, fields=FIELDS)) as made:
        made.upsert(
            [
                Row(
                    id=str(number),
                    source=f"{number}.jpg",
                    vector=np.array([1, 0], np.float32),
                    width=100 * number,
                    collection=COLLECTIONS[number % 2],
                    metadata=row,
                )
                for number, row in enumerate(ROWS)
            ],
            space="s",
        )
        yield made


def comparisons(value: st.SearchStrategy[Any], *, ordered: bool, text: bool) -> st.SearchStrategy[Any]:
    """What may stand after a field's name."""
    one = [st.tuples(st.sampled_from(("$eq", "$ne")), value)]
    one += [st.tuples(st.sampled_from(("$in", "$nin")), st.lists(value, min_size=1, max_size=3))]
    one += [st.tuples(st.just("$exists"), st.booleans())]
    if ordered:
        one += [st.tuples(st.sampled_from(("$gt", "$gte", "$lt", "$lte")), value)]
    if text:
        pieces = st.sampled_from(("s", "it'", "\\", "%", "_", "海", '"', "ea", "photos", "/f"))
        one += [st.tuples(st.sampled_from(("$prefix", "$contains")), pieces)]
    return value | st.lists(st.one_of(one), min_size=1, max_size=2).map(dict)


CONDITIONS = st.one_of(
    comparisons(st.sampled_from(ALBUMS), ordered=True, text=True).map(lambda value: {"album": value}),
    comparisons(st.integers(1988, 1998), ordered=True, text=False).map(lambda value: {"year": value}),
    comparisons(st.sampled_from((-3, -2.75, 0, 1.5, 6.0)), ordered=True, text=False).map(
        lambda value: {"score": value}
    ),
    comparisons(st.booleans(), ordered=False, text=False).map(lambda value: {"good": value}),
    comparisons(st.sampled_from((0, 500, 3500, -1)), ordered=True, text=False).map(
        lambda value: {"width": value}
    ),
    comparisons(st.sampled_from(COLLECTIONS), ordered=True, text=True).map(
        lambda value: {"collection": value}
    ),
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    CONDITIONS | st.just({}),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=FILTERS)
def test_a_filter_keeps_what_plain_python_keeps(index: Index, where: dict[str, Any]) -> None:
    """No comparison, missing value, odd character or nesting means something else to an engine."""
    kept = {row.id for part in index.scan(where=where, columns=()) for row in part}
    assert kept == {str(number) for number, row in enumerate(PLAIN) if keeps(where, row)}
