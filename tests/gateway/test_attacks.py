"""Attacks in a small form, on a gateway of its own; `python -m tests.gateway.attacks` is the large one."""

import importlib.util
from collections.abc import Callable, Iterator

import pytest

from tests.gateway import attacks_collections
from tests.gateway.alone import Alone, alone
from tests.gateway.attacks import ATTACKS, TRICKS, run

pytestmark = pytest.mark.slow  # starts gateways as processes

KEEPS = importlib.util.find_spec("lancedb") is not None
SIZE = 50  # connections, or as much of other things as takes a second
MOST_MEGABYTES = 150.0
# Of those that unpack to much in gRPC's own code, where no caller's key is known yet.
MOST = {"packed_headers": 64.0, "packed_headers_first": 64.0, "packed_headers_by_many": 256.0}

EXPECTED = {
    "slow_bodies": f"{SIZE} × 401",
    "header_bomb": "431, cut off",
    "gzip_bomb": "413",
    "endless_body": "cut off",
    "announced_body": "413",
    "many_values": "413",
    "smuggling": "17 × 400, one answer",
    "far_ahead": "cut off",
    "guessing": f"{SIZE} × 401",
    "broken_frames": "closed",
    "packed_headers_first": "cut off",
    "packed_headers_by_many": "cut off",
    "watches": "OK",
    "metadata": "RESOURCE_EXHAUSTED",
    "packed_message": "RESOURCE_EXHAUSTED",
    "large_message": "RESOURCE_EXHAUSTED",
    "lying_message": "refused",
    "endless_line": "cut off",
    "form_heads": "1 × 400, 1 × 413",
    "form_parts": "2 × 400",
    "filters": "4 × 400, 1 × 413",
    "ranges": "at most 1.0",
}


@pytest.fixture(scope="module")
def target() -> Iterator[Alone]:
    """A gateway in a process of its own, with a limit of 2 MB for bodies."""
    with alone(max_body_bytes=2_000_000) as target:
        if KEEPS:
            attacks_collections.prepare(target)
        yield target


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_others_are_served_meanwhile(target: Alone, attack: Callable[[Alone, int], tuple[str, str]]) -> None:
    """Whatever is sent, another caller's calls are answered, and the memory stays within bounds."""
    if attack in attacks_collections.ATTACKS and not KEEPS:
        pytest.skip("LanceDB is not installed, so there are no collections")
    found = run(target, attack, SIZE)
    assert not found.failed
    assert found.answered
    assert found.grown < MOST.get(attack.__name__, MOST_MEGABYTES)
    assert EXPECTED.get(attack.__name__, "") in found.came_back


def test_no_address_leads_past_the_question_for_a_key(target: Alone) -> None:
    """However an address is written, nobody without a key is told or given anything."""
    tricks = next(attack for attack in ATTACKS if attack.__name__ == "tricks")
    _, back = tricks(target, SIZE)
    statuses = {part.split(" × ")[1] for part in back.split(", ")}
    assert len(TRICKS) > 25
    assert statuses <= {"400", "401", "404", "405"}
