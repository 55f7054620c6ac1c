"""Attacks in a small form, on a gateway of its own; `python -m tests.gateway.attacks` is the large one."""

from collections.abc import Callable, Iterator

import pytest

from tests.gateway.alone import Alone, alone
from tests.gateway.attacks import ATTACKS, run

pytestmark = pytest.mark.slow  # starts gateways as processes

SIZE = 50  # connections, or as much of other things as takes a second
MOST_MEGABYTES = 150.0

EXPECTED = {
    "slow_bodies": f"{SIZE} × 401",
    "header_bomb": "431, cut off",
    "gzip_bomb": "413",
    "endless_body": "cut off",
    "announced_body": "413",
    "many_values": "413",
    "smuggling": "17 × 400, one answer",
    "far_ahead": "cut off",
    "metadata": "RESOURCE_EXHAUSTED",
    "packed_message": "RESOURCE_EXHAUSTED",
}


@pytest.fixture(scope="module")
def target() -> Iterator[Alone]:
    """A gateway in a process of its own, with a limit of 2 MB for bodies."""
    with alone(max_body_bytes=2_000_000) as target:
        yield target


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_others_are_served_meanwhile(target: Alone, attack: Callable[[Alone, int], tuple[str, str]]) -> None:
    """Whatever is sent, another caller's calls are answered, and the memory stays within bounds."""
    found = run(target, attack, SIZE)
    assert not found.failed
    assert found.answered
    assert found.grown < MOST_MEGABYTES
    assert EXPECTED.get(attack.__name__, "") in found.came_back
