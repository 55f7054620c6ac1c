"""What is asked of an index, and which of its rows are the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip.index import Hit, Row
from babelclip.search.query import (
    BLOCK,
    MAX_TERMS,
    MINUS,
    InvalidQuery,
    Results,
    SearchHit,
    Term,
    compose,
    page,
    parse_query,
    select,
)
from babelclip.search.relevance import MatchCurve

WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


def wanted(text: str) -> Term:
    return Term(text=text)


def avoided(text: str) -> Term:
    return Term(text=text, weight=-MINUS)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("beach -people", [wanted("beach"), avoided("people")]),
        ('-"parked  cars" a street', [wanted("a street"), avoided("parked cars")]),
        ("-people", [avoided("people")]),
        ("a well-known place", [wanted("a well-known place")]),
        ("Tokyo - Kyoto -", [wanted("Tokyo - Kyoto -")]),
        ("--force", [wanted("--force")]),
        ('-"" x', [wanted('-"" x')]),
        ('-"  " x', [wanted('-" " x')]),
        ('a -"b c', [wanted('a -"b c')]),
        ('"red car" -blue', [wanted('"red car"'), avoided("blue")]),
        ("海 −人", [wanted("海"), avoided("人")]),
        ("海　-「大きな 船」", [wanted("海"), avoided("大きな 船")]),
        ("شاطئ -ناس", [wanted("شاطئ"), avoided("ناس")]),
        (
            "Strand -„viele Leute“ -«les gens»",
            [wanted("Strand"), avoided("viele Leute"), avoided("les gens")],
        ),
        ("beach -well-dressed", [wanted("beach"), avoided("well-dressed")]),
    ],
)
def test_a_dash_before_a_word_avoids_it(text: str, terms: list[Term]) -> None:
    """What begins with a dash is subtracted, in any script and with any quotes; other dashes are text."""
    assert parse_query(text) == terms


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=4), st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=4))
def test_a_query_is_its_words_and_what_it_avoids(words: list[str], phrases: list[list[str]]) -> None:
    """Whatever the words are, the wanted ones are one text and each avoided phrase is a term, in order."""
    minus = [f'-"{" ".join(phrase)}"' if len(phrase) > 1 else f"-{phrase[0]}" for phrase in phrases]
    text = " ".join([*words[:2], *minus, *words[2:]])
    expected = [wanted(" ".join(words))] if words else []
    expected += [avoided(" ".join(phrase)) for phrase in phrases]
    if expected:
        assert parse_query(text) == expected
    else:
        with pytest.raises(InvalidQuery):
            parse_query(text)


@given(st.text())
def test_any_text_is_a_query_or_refused(text: str) -> None:
    """No text breaks the parser, and nothing of it is lost: what is not avoided is in the wanted text."""
    try:
        terms = parse_query(text)
    except InvalidQuery:
        assert not text.strip()
        return
    assert sum(term.weight > 0 for term in terms) <= 1
    for term in terms:
        assert term.text
        assert term.text.strip() == term.text


def test_a_query_has_its_limits() -> None:
    """A query that avoids a great many things is refused with the number that is allowed."""
    with pytest.raises(InvalidQuery, match=str(MAX_TERMS - 1)):
        parse_query("x " + " ".join(f"-a{n}" for n in range(MAX_TERMS)))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text": "a", "like": "b"},
        {"text": " "},
        {"text": "a", "weight": 0},
        {"text": "a", "weight": float("nan")},
    ],
    ids=str,
)
def test_a_term_is_one_thing_with_a_weight(arguments: dict[str, object]) -> None:
    """A term that says nothing, two things, or how much of nothing, is refused."""
    with pytest.raises(InvalidQuery):
        Term(**arguments)  # type: ignore[arg-type]


def test_a_sum_has_the_weights_of_unit_vectors() -> None:
    """Vectors count by their weights whatever their lengths, and their sum has length 1."""
    found = compose(np.array([[3, 0, 0], [0, 0.1, 0]]), [1.0, -0.5])
    np.testing.assert_allclose(found, np.array([2, -1, 0]) / np.sqrt(5), rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.3, -0.3]])
def test_terms_that_cancel_each_other_out_are_refused(weights: list[float]) -> None:
    """A sum of nothing is no direction to search in."""
    with pytest.raises(InvalidQuery, match="cancel"):
        compose([[1, 2, 3], [2, 4, 6]], weights)
    with pytest.raises(InvalidQuery, match="empty"):
        compose(np.empty((0, 3)), [])


def hit(name: str, cosine: float, vector: Sequence[float]) -> Hit:
    unit = np.array(vector, np.float32)
    return Hit(Row(id=name, source=name, vector=unit / np.linalg.norm(unit)), cosine)


BURST = [hit("a", 0.9, [1, 0]), hit("b", 0.8, [0, 1]), hit("a2", 0.7, [1, 0.01]), hit("c", 0.6, [-1, 0])]


def test_near_duplicates_share_the_place_of_the_best() -> None:
    """A burst takes one place, whose hit names the others; without diversity each has its own."""
    folded = select(BURST)
    assert [(one.row.id, one.duplicates, one.position) for one in folded] == [
        ("a", ("a2",), 0),
        ("b", (), 1),
        ("c", (), 3),
    ]
    assert [one.row.id for one in select(BURST, diverse=False)] == ["a", "b", "a2", "c"]


def test_what_does_not_fit_is_left_out() -> None:
    """A threshold leaves out hits below it, also as duplicates, and a curve says how likely each fits."""
    folded = select(BURST, threshold=0.75, curve=MatchCurve(10.0, -8.0))
    assert [(one.row.id, one.duplicates) for one in folded] == [("a", ()), ("b", ())]
    assert [one.probability for one in folded] == pytest.approx([1 / (1 + np.exp(-1.0)), 0.5])


def test_the_row_itself_takes_no_place() -> None:
    """What others are to be like is no result, and does not hide its own burst."""
    assert [one.row.id for one in select(BURST, exclude={"a"})] == ["b", "a2", "c"]


def ranking(count: int, burst: int) -> list[Hit]:
    """Rows of which each `burst` look the same, in no order of their bursts."""
    order = np.random.default_rng(0).permutation(count)
    vectors = np.random.default_rng(1).normal(size=(count // burst + 1, 16))
    return [hit(str(n), 1 - place / count, vectors[n // burst]) for place, n in enumerate(order)]


def fetching(hits: list[Hit]) -> Callable[[int, int], list[Hit]]:
    return lambda offset, top: hits[offset : offset + top]


def pages(hits: list[Hit], top: int, **settings: Any) -> list[SearchHit]:
    found: list[SearchHit] = []
    offset: int | None = 0
    while offset is not None:
        one = page(fetching(hits), top=top, offset=offset, **settings)
        found += one.hits
        offset = one.next_offset
    return found


@pytest.mark.parametrize("count", [7, BLOCK, 2 * BLOCK + 37])
@pytest.mark.parametrize("burst", [1, 9, 300])
def test_pages_together_are_the_whole_ranking_once(count: int, burst: int) -> None:
    """Pages of any size show the same places in the same order, and every row once, hit or duplicate."""
    hits = ranking(count, burst)
    by_ten, by_all = pages(hits, 10), pages(hits, 2 * count)
    assert [one.row.id for one in by_ten] == [one.row.id for one in by_all]
    assert [one.position for one in by_ten] == sorted(one.position for one in by_ten)
    shown = [name for one in by_ten for name in (one.row.id, *one.duplicates)]
    assert sorted(shown) == sorted(one.row.id for one in hits)
    bursts = len({int(one.row.id) // burst for one in hits})
    assert len(by_ten) <= bursts * -(-count // BLOCK)


def test_pages_end_at_the_threshold() -> None:
    """Nothing below the threshold is on any page, and where nothing reaches it the results say so."""
    hits = ranking(2 * BLOCK + 37, 1)
    found = pages(hits, 10, threshold=0.4)
    assert [one.row.id for one in found] == [one.row.id for one in hits if one.cosine >= 0.4]
    nothing = page(fetching(hits), threshold=1.5)
    assert (nothing.hits, nothing.fits, nothing.threshold, nothing.next_offset) == ((), False, 1.5, None)


def test_a_threshold_can_be_told_without_cutting() -> None:
    """Where the hits below are wanted too, the results still say where they begin and whether any fits."""
    hits = ranking(50, 1)
    last = page(fetching(hits), top=10, offset=40, threshold=0.4, cut=False)
    assert (len(last.hits), last.fits, last.next_offset) == (10, True, None)
    assert not page(fetching(hits), threshold=1.5, cut=False).fits
    assert not page(fetching([])).fits


def test_a_later_page_knows_whether_anything_fits() -> None:
    """A page beyond the last hit has none, which does not mean that nothing fits."""
    beyond: Results = page(fetching(ranking(50, 1)), offset=60, threshold=0.4)
    assert (beyond.hits, beyond.fits) == ((), True)


@pytest.mark.parametrize(("top", "offset"), [(0, 0), (1, -1)])
def test_a_page_that_cannot_be_is_refused(top: int, offset: int) -> None:
    """A page has at least one place and begins in the ranking."""
    with pytest.raises(InvalidQuery):
        page(fetching([]), top=top, offset=offset)
