"""The lock in an object store, with seconds that pass quickly."""

import threading
from pathlib import Path

import pytest

from batch.storage import lease
from batch.storage.base import StorageBusy
from batch.storage.lease import Lease
from batch.storage.objects import Objects
from tests.batch.support import PATIENCE


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An empty store; who does not renew a lock for a second is taken for dead."""
    monkeypatch.setattr(lease, "EVERY", 0.1)
    monkeypatch.setattr(lease, "LOST_AFTER", 1.0)
    monkeypatch.setattr(lease, "_LOOKS", 0.05)
    return Objects(f"memory://{tmp_path.name}")


def killed(objects: Objects) -> None:
    """What a holder leaves that was killed."""
    holder = Lease(objects)
    holder.take(print)
    holder._end.set()
    holder._thread.join()


def test_a_lock_is_one_holders(objects: Objects) -> None:
    """While it lives the next one is refused, by a sentence that says who it is; afterwards not."""
    first, second = Lease(objects), Lease(objects)
    first.take(print)
    try:
        with pytest.raises(StorageBusy, match=r"another job writes to memory://.* of .* holds its lock"):
            second.take(print)
        first.check()
    finally:
        first.give_back()
    second.take(print)
    second.give_back()
    assert objects.names(".lock") == ["0000000002.json"]


def test_a_killed_holder_is_waited_for_once(objects: Objects) -> None:
    """Whoever comes next says why it waits, and goes on."""
    killed(objects)
    said: list[str] = []
    holder = Lease(objects)
    holder.take(said.append)
    holder.give_back()
    assert len(said) == 1
    assert "has left a lock" in said[0]


def test_of_many_that_wait_one_goes_on(objects: Objects) -> None:
    """When a holder was killed, its lock is taken once, however many wait for it."""
    killed(objects)
    taken: list[Lease] = []
    refused: list[str] = []
    ready = threading.Barrier(5)

    def take() -> None:
        one = Lease(objects)
        ready.wait()
        try:
            one.take(lambda _: None)
            taken.append(one)
        except StorageBusy as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for one in taken:
        one.give_back()
    assert (len(taken), len(refused)) == (1, 4)


def test_a_holder_that_was_taken_for_dead_is_told(objects: Objects) -> None:
    """As one that was stopped for a while: it ends, and leaves the lock to its new holder."""
    first = Lease(objects)
    first.take(print)
    objects.put(".lock/0000000002.json", b'{"holder": "another"}')
    first._thread.join(PATIENCE)
    with pytest.raises(StorageBusy, match="it was taken for dead"):
        first.check()
    first.give_back()
    assert objects.read(".lock/0000000002.json") == b'{"holder": "another"}'
    assert b'"ended": true' not in (objects.read(".lock/0000000001.json") or b"")


def test_a_store_without_conditions_lets_the_last_one_go_on(objects: Objects) -> None:
    """Where two could create the same lock, the first one finds another's in its place and ends."""
    first = Lease(objects)
    first.take(print)
    objects.put(".lock/0000000001.json", b'{"holder": "another"}')
    first._thread.join(PATIENCE)
    with pytest.raises(StorageBusy):
        first.check()
    first.give_back()


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b"\xff"])
def test_a_lock_that_is_none_is_waited_for_too(data: bytes, objects: Objects) -> None:
    """Whatever lies there, after a while it is nobody's."""
    objects.put(".lock/0000000007.json", data)
    holder = Lease(objects)
    holder.take(print)
    holder.give_back()
    assert objects.names(".lock") == ["0000000008.json"]
