"""What comes from an address that may be anybody's: any bytes are an answer, or one error that says so."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import BabelclipError, ProtocolError
from babelclip.collections import CollectionClient, answers
from babelclip.collections.exchange import Answer, checked

CLIENT = CollectionClient("http://127.0.0.1:1", "x")
READERS = [
    *(answers.collection, answers.outcomes, answers.item, answers.results, answers.labels),
    *(answers.image_label, answers.deleted, answers.job, answers.page),
]
HIT: dict[str, Any] = {
    "id": "a",
    "source": "",
    "kind": "image",
    "caption": "",
    "begin": None,
    "end": None,
    "width": 1,
    "height": 1,
    "taken": None,
    "metadata": {},
    "content": None,
    "score": 0.5,
    "match": None,
    "duplicates": [],
}
WHOLE: dict[str, Any] = {
    "name": "x",
    "model": "m",
    "state": "ready",
    "collection": "x",
    "kind": "dedup",
    "deleted": 3,
    "hits": [HIT],
    "threshold": None,
    "fits": True,
    "next_offset": None,
    "space": "s",
    "version": "1",
    "items": [{"id": "a", "status": "added", "label": None, "best": None, "probability": 1, "match": 1}],
    "data": [{"label": "a", "best": "a", "probability": 1.0, "match": None}],
    "done": 0,
    "total": None,
    "error": None,
    "result": None,
    "next_after": None,
    **HIT,
    "id": "a",
}
OWN: dict[Any, dict[str, Any]] = {
    answers.job: {"state": "done"},
    answers.collection: {"items": 3},
    answers.page: {"items": [HIT]},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(WHOLE)), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), VALUES, max_size=4), st.sampled_from(READERS))
def test_an_answer_with_other_values_is_read_or_refused(changed: dict[str, Any], reader: Any) -> None:
    """Whatever stands in a field, a caller meets typed values or a ProtocolError, and no other exception."""
    told = {**WHOLE, **OWN.get(reader, {}), **changed}
    with contextlib.suppress(ProtocolError):
        CLIENT._reading(reader)(Answer(200, json.dumps(told).encode()))


@pytest.mark.parametrize("reader", READERS)
def test_a_whole_answer_is_read(reader: Any) -> None:
    """The answer that the others are changed from is one."""
    told = {**WHOLE, **OWN.get(reader, {})}
    assert CLIENT._reading(reader)(Answer(200, json.dumps(told).encode()))


@settings(max_examples=100, deadline=None)
@given(st.integers(300, 599), st.binary(max_size=40) | VALUES.map(lambda told: json.dumps(told).encode()))
def test_a_refusal_of_any_form_is_an_error_of_the_package(status: int, body: bytes) -> None:
    """A proxy's page, an empty body or nonsense with any status is one of our errors."""
    with pytest.raises(BabelclipError):
        checked(Answer(status, body, {"retry-after": "soon"}), "http://127.0.0.1:1")
