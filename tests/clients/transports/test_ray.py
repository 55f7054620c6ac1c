"""`ray:` addresses, on applications in memory: which version answers, and what comes of calls that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import pytest

from babelclip import AsyncClient, Client, DeadlineExceeded, ModelNotFound, Unavailable
from babelclip.testing import InMemoryTransport
from babelclip.transports import ray
from babelclip.transports.base import Call, Tls
from babelclip.transports.ray import RayAddress, RayTransport, parse_ray_address
from babelclip.transports.ray_handles import ReplicaDied
from babelclip.transports.url import open_async_transport

BOTH = ("text", "vision")


class Memory:
    """A cluster in memory: versions with both towers, and perhaps one that is the default.

    Attributes:
        during: awaited in each call, and may raise.
        asked: applications and deployments that were called, in order.
        cancelled: calls that were given up.
    """

    def __init__(self, *versions: str, default: str | None = None) -> None:
        self.applications: dict[str, Collection[str]] = {f"babelclip-{version}": BOTH for version in versions}
        if default is not None:
            self.applications["babelclip"] = (default,)
        self.during: Callable[[], Awaitable[None]] = _nothing
        self.asked: list[tuple[str, str]] = []
        self.cancelled = 0

    def deployed(self) -> Mapping[str, Collection[str]]:
        return dict(self.applications)

    async def embed(self, application: str, deployment: str, body: bytes) -> bytes:
        self.asked.append((application, deployment))
        try:
            await self.during()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        version = application.removeprefix("babelclip-")
        memory = InMemoryTransport(space=f"space {version}", version=version)
        return memory.send(Call(deployment, version, body, None, 1.0))

    def close(self) -> None:
        pass


async def _nothing() -> None:
    pass


def failing(times: int, error: Exception) -> Callable[[], Awaitable[None]]:
    """Raises the first times, and then no more."""
    left = [error] * times

    async def during() -> None:
        if left:
            raise left.pop()

    return during


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a pause."""
    monkeypatch.setattr(ray, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(ray, "RECHECK_SECONDS", 0.01)


def space_of(memory: Memory, version: str | None = None, timeout: float = 30.0) -> str:
    """The space of one text, as a client gets it."""

    async def run() -> str:
        transport = RayTransport("ray:auto", memory)
        async with AsyncClient("ray:auto", version=version, timeout=timeout, transport=transport) as client:
            return (await client.embed_texts(["a"])).space

    return asyncio.run(run())


def test_an_address_names_the_cluster_and_the_applications() -> None:
    """What is no such address is refused with the form that one has."""
    assert parse_ray_address("ray:127.0.0.1:6379") == RayAddress("127.0.0.1:6379", "babelclip")
    assert parse_ray_address("ray:auto#mini") == RayAddress("auto", "mini")
    for wrong in (
        "ray:",
        "ray:#mini",
        "ray:auto#",
        "ray://head:10001",
        "grpc://a:1",
        "ray:a b:1",
        "ray:a:1\n",
    ):
        with pytest.raises(ValueError, match="is no address"):
            parse_ray_address(wrong)


def test_an_address_of_ray_is_for_event_loops() -> None:
    """Who takes the other client is told which one to take, and nobody believes to have TLS."""
    with pytest.raises(ValueError, match="AsyncClient"):
        Client("ray:auto")
    with pytest.raises(ValueError, match="no TLS"):
        open_async_transport("ray:auto", Tls())
    assert isinstance(open_async_transport("ray:auto"), RayTransport)


def test_the_default_version_is_the_one_that_is_marked() -> None:
    """A version that is deployed beside it changes nothing for those who name none."""
    assert space_of(Memory("1.0")) == "space 1.0"
    assert space_of(Memory("1.0", "2.0", default="2.0")) == "space 2.0"
    assert space_of(Memory("1.0", "2.0", default="1.0")) == "space 1.0"
    assert space_of(Memory("1.0", "2.0", default="1.0"), version="2.0") == "space 2.0"


def test_without_a_mark_several_versions_are_no_answer() -> None:
    """Vectors of a version that nobody chose would be worse than none."""
    with pytest.raises(Unavailable, match=r"versions 1\.0, 2\.0, and none is the default"):
        space_of(Memory("1.0", "2.0"))
    with pytest.raises(Unavailable, match="no application babelclip-VERSION"):
        space_of(Memory())


def test_a_version_that_is_not_deployed_is_not_found() -> None:
    """It is the caller's mistake, and costs no other version anything."""
    with pytest.raises(ModelNotFound, match=r"no deployment 'text' of version '3\.0'"):
        space_of(Memory("1.0"), version="3.0")


def test_a_message_whose_replica_died_is_sent_again() -> None:
    """The death of a process costs no item: embedding changes nothing, so that it may be done twice."""
    memory = Memory("1.0")
    memory.during = failing(2, ReplicaDied("gone"))
    assert space_of(memory) == "space 1.0"
    assert memory.asked == [("babelclip-1.0", "text")] * 3


def test_a_message_that_kills_is_not_sent_forever() -> None:
    """What killed three replicas may be the message: its caller is told, and does not try again."""
    memory = Memory("1.0")
    memory.during = failing(10, ReplicaDied("gone"))
    with pytest.raises(Unavailable, match="died while they computed") as caught:
        space_of(memory)
    assert not caught.value.retryable
    assert len(memory.asked) == 3


def test_a_version_that_goes_meanwhile_is_told_of() -> None:
    """A call does not wait for replicas that never come, until all of its time is over."""
    memory = Memory("1.0", "2.0")

    async def during() -> None:
        memory.applications.pop("babelclip-2.0", None)
        await asyncio.Event().wait()

    memory.during = during
    with pytest.raises(ModelNotFound, match="no more"):
        space_of(memory, version="2.0")
    assert memory.cancelled == 1


def test_a_version_that_has_gone_is_not_found_either() -> None:
    """Ray Serve says of what was deleted that it does not answer, and would never say otherwise."""
    memory = Memory("1.0", "2.0")

    async def during() -> None:
        memory.applications.pop("babelclip-2.0", None)
        raise Unavailable("the deployment does not answer")

    memory.during = during
    with pytest.raises(ModelNotFound, match="no more"):
        space_of(memory, version="2.0")


def test_a_late_answer_is_given_up() -> None:
    """The replica need not go on for a caller who has left."""
    memory = Memory("1.0")
    memory.during = asyncio.Event().wait  # type: ignore[assignment]
    with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
        space_of(memory, version="1.0", timeout=0.05)
    assert memory.cancelled


def test_a_cluster_that_cannot_be_asked_is_unavailable() -> None:
    """The error says where it was looked for, and the next call asks anew."""

    class Away(Memory):
        asked_again = 0

        def deployed(self) -> Mapping[str, Collection[str]]:
            self.asked_again += 1
            if self.asked_again == 1:
                raise Unavailable("no cluster of Ray at auto", retryable=True)
            return super().deployed()

    memory = Away("1.0")
    assert space_of(memory) == "space 1.0"
    assert memory.asked_again > 1
