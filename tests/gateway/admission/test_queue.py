"""Turns at one tower: fair between keys and requests, as many items as its speed allows, refusals in time."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission.alone import TimeAlone
from gateway.admission.queue import TowerQueue
from gateway.admission.rate import Rate
from gateway.admission.waiting import PIECE, Waiting
from gateway.errors import ApiError


class Turns:
    """A queue, and whose turn it was for how many items, in order; `second` passes with each item."""

    def __init__(self, at_once: int = 64, **more: float) -> None:
        self.now = 0.0
        self.second = 1.0
        self.queue = TowerQueue(at_once, clock=lambda: self.now, **more)
        self.had: list[tuple[str, int]] = []
        self._at_tower: list[int] = []

    def enter(self, key: str, count: int, seconds: float | None = None, name: str = "") -> Waiting:
        """A request, in the list under `name`."""

        def begin(size: int) -> None:
            self.had.append((name or key, size))
            self._at_tower.append(size)

        return self.queue.enter(key, count, seconds, begin)

    def finish(self) -> None:
        """The tower is done with its oldest piece."""
        size = self._at_tower.pop(0)
        self.now += size * self.second
        self.queue.done(size)

    def finish_all(self) -> None:
        """Until nothing waits and nothing is at the tower."""
        while self._at_tower:
            self.finish()
        assert (self.queue.at_tower, self.queue.waiting) == (0, 0)


@pytest.mark.parametrize("modest", [(1,) * 16, (200,), (5, 1, 20)])
def test_keys_have_their_turns_by_items(modest: tuple[int, ...]) -> None:
    """A key with a thousand items takes no more than half from another, whose requests are of any size."""
    turns = Turns()
    turns.enter("greedy", 1000)
    before = len(turns.had)
    for count in modest:
        turns.enter("modest", count)
    while (had := totals(turns.had[before:]))["modest"] < sum(modest):
        assert had["greedy"] - had["modest"] <= 2 * PIECE
        turns.finish()
    turns.finish_all()
    assert totals(turns.had) == {"greedy": 1000, "modest": sum(modest)}


def totals(had: list[tuple[str, int]]) -> dict[str, int]:
    """The items of each key."""
    return {name: sum(size for key, size in had if key == name) for name in ("greedy", "modest")}


def served(turns: Turns, *, alone: float) -> None:
    """An item that has the tower for itself for so many seconds, then a key's items, which take one each."""
    assert turns.queue.pass_at_once("greedy", 1)
    turns.now += alone
    turns.queue.done(1)
    for _ in range(90):
        turns.enter("greedy", 1)
    for _ in range(70):
        turns.finish()
        turns.enter("greedy", 1)


@pytest.mark.parametrize(("alone", "most"), [(1.0, 2), (1.2, 2), (4.0, 8), (1000.0, 64)])
def test_what_a_slow_tower_has_is_what_its_workers_compute_and_as_much_again(alone: float, most: int) -> None:
    """Whoever comes next, of whatever key, waits for that; and it is the turn of who has had least."""
    turns = Turns()
    served(turns, alone=alone)
    assert turns.queue.at_tower == most
    turns.enter("modest", 1)
    turns.finish()
    assert turns.had[-1] == ("modest", 1)
    turns.finish_all()


def test_one_key_has_what_a_tower_embeds_in_a_second() -> None:
    """Batches stay large where the tower is not slow, and nobody waits long behind them."""
    turns = Turns()
    turns.second = 1 / 40
    served(turns, alone=1 / 40)
    assert turns.queue.at_tower == 40
    turns.enter("modest", 1)
    while ("modest", 1) not in turns.had:
        turns.finish()
    assert turns.queue.at_tower == 2
    turns.finish_all()


def beside_greedy(turns: Turns, *, every: int, count: int) -> list[int]:
    """How many items were embedded between the call and the turn of each of the modest key's items.

    It asks for `count` items after each `every` items that the tower has embedded, sixty times, of which the
    last thirty are told: by then the tower knows who is who.
    """
    waited: list[int] = []
    for asked in range(60):
        for number in range(count):
            turns.enter("modest", 1, name=f"modest {asked} {number}")
        for passed in range(every):
            with contextlib.suppress(ApiError):  # What waits of it is too much already.
                turns.enter("greedy", 1)
            turns.finish()
            waited += [passed + 1] * sum(name.startswith(f"modest {asked}") for name, _ in turns.had)
            turns.had.clear()
    return waited[-30 * count :]


def test_a_modest_key_waits_for_what_is_computed_and_for_nothing_else() -> None:
    """Beside a key that asks for more than its share, nobody who asks for less is later than by one item."""
    turns = Turns()
    turns.second = 1 / 20
    served(turns, alone=1.2 / 20)
    turns.had.clear()
    assert beside_greedy(turns, every=4, count=1) == [1] * 30
    assert turns.queue.at_tower == 1
    turns.finish_all()


def test_a_modest_key_may_ask_for_some_items_at_once() -> None:
    """Who asks for less than its share does so at random, and its items are one batch, as they are alone."""
    turns = Turns()
    turns.second = 1 / 20
    served(turns, alone=1.2 / 20)
    turns.had.clear()
    assert beside_greedy(turns, every=9, count=3) == [1, 1, 2] * 30
    turns.finish_all()


def test_a_version_that_hangs_does_not_keep_the_others_waiting_beside_a_modest_key() -> None:
    """One item at a time is for a tower that answers: after a second without anything, others may pass."""
    turns = Turns()
    turns.second = 1 / 20
    served(turns, alone=1.2 / 20)
    beside_greedy(turns, every=4, count=1)
    while turns.queue.at_tower:
        turns.finish()
    turns.enter("modest", 1, name="hangs")
    turns.had.clear()
    turns.enter("greedy", 1, name="behind it")
    assert turns.had == []
    turns.now += 1.1
    turns.enter("greedy", 1, name="later")
    assert ("behind it", 1) in turns.had


def test_keys_that_ask_for_as_much_have_larger_batches() -> None:
    """Where all ask for more than their share there is nobody to be quick for."""
    turns = Turns()
    turns.second = 1 / 20
    served(turns, alone=1.2 / 20)
    for _ in range(100):
        with contextlib.suppress(ApiError):
            turns.enter("other", 1)
            turns.enter("greedy", 1)
        turns.finish()
    assert turns.queue.at_tower == 2
    turns.finish_all()


def test_a_large_request_is_cut_to_what_the_tower_has_at_a_time_while_several_keys_call() -> None:
    """A piece of 32 images would keep a slow tower from all others for seconds."""
    turns = Turns()
    served(turns, alone=1.0)
    turns.enter("modest", 1)
    before = len(turns.had)
    turns.enter("greedy", 20)
    turns.enter("modest", 20)
    turns.finish_all()
    assert max(size for _, size in turns.had[before:]) == 2


def test_only_an_item_that_is_embedded_tells_how_long_one_takes_alone() -> None:
    """What is refused at once, or shares the tower, makes no tower fast or slow."""
    alone = TimeAlone()
    alone.begin(1, 0, 10.0)
    alone.done(10.001, embedded=False)
    alone.begin(2, 0, 20.0)
    alone.done(25.0, embedded=True)
    alone.begin(1, 0, 30.0)
    alone.begin(1, 1, 30.1)
    alone.done(35.0, embedded=True)
    assert alone.seconds is None
    alone.begin(1, 0, 40.0)
    alone.done(40.5, embedded=True)
    assert alone.seconds == 0.5
    alone.begin(1, 0, 50.0)
    alone.done(51.5, embedded=True)
    assert alone.seconds == pytest.approx(0.6)


def test_a_small_request_passes_a_large_one_of_the_same_key() -> None:
    """Whoever asks for one vector does not wait for a colleague's thousand."""
    turns = Turns()
    turns.enter("shop", 1000, name="large")
    turns.enter("shop", 1, name="small")
    for _ in range(3):
        turns.finish()
    assert ("small", 1) in turns.had


def refusal(turns: Turns, key: str) -> ApiError:
    """Single items of a key until one is refused."""
    with pytest.raises(ApiError) as caught:  # noqa: PT012  # the last of them, whichever that is
        for _ in range(1000):
            turns.enter(key, 1)
    return caught.value


def test_what_would_wait_too_long_is_refused_at_once() -> None:
    """A queue is shorter than what the tower has, and another key still finds a place in it."""
    turns = Turns()
    turns.enter("greedy", 64)
    error = refusal(turns, "greedy")
    assert (error.status, error.code, error.retry_after) == (429, "overloaded", 1)
    assert turns.queue.waiting == 49
    turns.enter("modest", 1)
    for _ in range(3):  # The tower's rate, an item a second, is known from here on.
        turns.finish()
    known = refusal(turns, "greedy").retry_after
    assert known is not None
    assert 10 < known <= 60
    turns.finish_all()


def test_the_operator_may_let_requests_wait_longer() -> None:
    """Bursts can be waited for where that is better than to come again."""
    turns = Turns(max_wait=500.0)
    turns.enter("shop", 100)
    for _ in range(3):
        turns.finish()
    refusal(turns, "shop")
    assert 300 < turns.queue.waiting < 700
    turns.finish_all()


def test_what_cannot_be_done_within_the_callers_deadline_is_refused_at_once() -> None:
    """Nobody waits for an answer that comes too late, and no tower computes it."""
    turns = Turns()
    turns.enter("shop", 200)
    for _ in range(3):
        turns.finish()
    with pytest.raises(ApiError, match=r"the caller waits 5\.0 s"):
        turns.enter("shop", 10, seconds=5.0)
    turns.enter("shop", 10, seconds=1000.0)
    turns.finish_all()


def test_a_request_that_leaves_makes_room() -> None:
    """What a caller no longer waits for has no turn."""
    turns = Turns()
    leaving = turns.enter("shop", 1000)
    turns.enter("other", 40)
    turns.queue.leave(leaving)
    turns.queue.leave(leaving)
    turns.finish_all()
    assert sum(size for key, size in turns.had if key == "other") == 40
    assert sum(size for key, size in turns.had if key == "shop") == 64


@settings(max_examples=50)
@given(
    at_once=st.integers(1, 100),
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 200)) | st.none() | st.integers(0, 20), max_size=80
    ),
)
def test_every_item_has_one_turn_whatever_comes(at_once: int, steps: list[Any]) -> None:
    """No order of requests, ends and leavers loses an item, or gives a tower too much or too little."""
    turns = Turns(at_once)
    wanted = 0
    waiting: list[Waiting] = []
    for step in steps:
        if step is None:
            if turns.queue.at_tower:
                turns.finish()
        elif isinstance(step, int):
            if step < len(waiting):
                wanted -= waiting[step].left
                turns.queue.leave(waiting[step])
                waiting[step].left = 0
        else:
            with contextlib.suppress(ApiError):  # It would wait too long.
                waiting.append(turns.enter(*step))
                wanted += step[1]
        assert turns.queue.waiting == sum(request.left for request in waiting)
        limits = [turns.queue._limit(key) for key in "abc"]
        assert turns.queue.at_tower < max(at_once, *limits) + PIECE
        assert not turns.queue.waiting or turns.queue.at_tower >= min(at_once, *limits)
    turns.finish_all()
    assert sum(size for _, size in turns.had) == wanted


def test_a_rate_is_of_the_time_in_which_a_tower_was_busy() -> None:
    """A tower of which little is asked is not taken for a slow one."""
    rate = Rate()
    for second in range(10):
        rate.done(1, float(second), busy=False)
    assert rate.per_second is None
    for second in range(10, 20):
        rate.done(50, float(second), busy=True)
    assert rate.per_second is not None
    assert 45 < rate.per_second < 55
    for second in range(100, 130):
        rate.done(200, float(second), busy=True)
    assert 190 < rate.per_second < 210


def test_the_best_rate_outlasts_a_worse_one_for_a_while() -> None:
    """A slower minute makes it less, and a few slow seconds do not."""
    rate = Rate()
    for second in range(20):
        rate.done(50, float(second), busy=True)
    before = rate.best
    for second in range(20, 40):
        rate.done(10, float(second), busy=True)
    assert rate.best == before
    for second in range(40, 120):
        rate.done(10, float(second), busy=True)
    assert rate.best is not None
    assert 9 < rate.best < 12
