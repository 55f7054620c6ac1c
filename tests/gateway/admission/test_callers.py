"""Who calls a tower, and whether a key asks for no more than its share beside one that asks for more."""

from gateway.admission.callers import Callers


def period(callers: Callers, now: float, **asked: int) -> None:
    """Two seconds in which keys ask for so many items, and ten are embedded."""
    for key, items in asked.items():
        callers.note(key, items, now)
    callers.done(10)


def test_a_key_is_modest_beside_a_greedy_one() -> None:
    """Neither alone, nor beside one of its kind, is anybody to be preferred."""
    for asked, expected in (
        ({"a": 3}, ""),
        ({"a": 3, "b": 4}, ""),
        ({"a": 30, "b": 40}, ""),
        ({"a": 3, "b": 40}, "a"),
        ({"a": 3, "b": 3, "c": 40}, "ab"),
    ):
        callers = Callers(0.0)
        period(callers, 0.1, **asked)
        period(callers, 2.1, **asked)
        assert callers.modest == set(expected), asked
        assert len(callers) == len(asked)


def test_one_period_in_which_it_asks_for_more_changes_nothing() -> None:
    """Who calls at random asks for more than its share now and then; who does so for long is not modest."""
    callers = Callers(0.0)
    for number, (items, expected) in enumerate([(3, ""), (8, "a"), (3, "a"), (8, "a"), (8, "a"), (8, "")]):
        period(callers, 2.0 * number + 0.1, a=items, b=40)
        assert callers.modest == set(expected), number


def test_who_has_gone_is_forgotten() -> None:
    """A key that no longer calls makes nobody greedy."""
    callers = Callers(0.0)
    period(callers, 0.1, a=3, b=40)
    period(callers, 2.1, b=40)
    assert (callers.modest, len(callers)) == (frozenset("a"), 2)
    period(callers, 4.1, b=40)
    assert (callers.modest, len(callers)) == (frozenset(), 1)


def test_what_no_key_asks_for_makes_nobody_modest() -> None:
    """A candidate's copies, or calls where there are no keys, are not a key that must be served at once."""
    callers = Callers(0.0)
    for number in range(3):
        callers.note("", 3, 2.0 * number)
        period(callers, 2.0 * number + 0.1, b=40)
        assert (callers.modest, len(callers)) == (frozenset(), 1)
