"""Towers that Ray Serve runs, without a proxy between: `ray:ADDRESS` or `ray:ADDRESS#NAME`.

    ray:127.0.0.1:6379          the cluster whose head listens there, its applications babelclip-VERSION
    ray:auto#mini               the cluster of this machine, its applications mini-VERSION

For `AsyncClient`. Both towers of a version are one application, NAME-VERSION, with the deployments `text`
and `vision`. A further application, NAME, tells the default version: it has one deployment, named as the
version is, without a replica. `babelclip.ray_serve` deploys them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from babelclip.errors import DeadlineExceeded, ModelNotFound, Unavailable
from babelclip.transports.base import Call
from babelclip.transports.ray_handles import RayApplications, ReplicaDied

SCHEME = "ray:"
NAME = "babelclip"

# A call to an application that is deleted while it waits would wait for replicas that never come.
RECHECK_SECONDS = 1.0
# After each of these a message whose replica died is sent again. They are few, because it may be the message
# that kills; the first may still meet a replica of whose death the router does not know.
PAUSES = (0.2, 1.0)


class Applications(Protocol):
    """The applications of a cluster."""

    def deployed(self) -> Mapping[str, Collection[str]]:
        """Each application's deployments, by its name. Blocks.

        Raises:
            Unavailable: the cluster could not be asked.
        """
        ...

    async def embed(self, application: str, deployment: str, body: bytes) -> bytes:
        """A replica's answer to a serialized EmbedRequest; cancelled, the replica need not go on.

        Raises:
            ReplicaDied: the replica that had the request is gone.
            TransportError: it gave no answer.
        """
        ...

    def close(self) -> None:
        """No call follows."""
        ...


@dataclass(frozen=True)
class RayAddress:
    """A cluster, as ray.init takes its address, and how the names of the applications begin."""

    cluster: str
    name: str = NAME


def parse_ray_address(url: str) -> RayAddress:
    """`ray:ADDRESS` or `ray:ADDRESS#NAME` → its parts.

    Raises:
        ValueError: it is no such address.
    """
    cluster, hash_, name = url.removeprefix(SCHEME).partition("#")
    if not url.startswith(SCHEME) or not cluster or cluster.startswith("//") or (hash_ and not name):
        raise ValueError(
            f"{url!r} is no address of a Ray cluster: write {SCHEME} and HOST:PORT of its head, or"
            f" {SCHEME}auto; and perhaps #NAME, with which its applications begin (by default {NAME})"
        )
    if not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is no address: it holds characters that no address has")
    return RayAddress(cluster, name or NAME)


def application_name(name: str, version: str) -> str:
    """The application with both towers of a version."""
    return f"{name}-{version}"


class RayTransport:
    """Calls the deployments of a cluster. Used within one event loop; joins the cluster with its first call.

    Args:
        url: see the module.
        applications: those of the cluster instead of what `url` names.

    Raises:
        ValueError: the URL is no address of a Ray cluster.
    """

    def __init__(self, url: str, applications: Applications | None = None) -> None:
        address = parse_ray_address(url)
        self._url = url
        self._name = address.name
        self._applications = applications or RayApplications(address.cluster)
        self._known: Mapping[str, Collection[str]] = {}
        self._listing: asyncio.Task[Mapping[str, Collection[str]]] | None = None

    async def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`; the token is not sent, as Ray has its own.

        A message whose replica died is sent again, twice at most: embedding changes nothing.
        """
        try:
            async with asyncio.timeout(call.timeout):
                application = await self._application(call)
                for pause in PAUSES:
                    try:
                        return await self._answer(application, call)
                    except ReplicaDied:
                        await asyncio.sleep(pause)
                return await self._answer(application, call)
        except TimeoutError:
            raise DeadlineExceeded(f"no complete answer from {self._url} within {call.limit}") from None
        except ReplicaDied as error:
            raise Unavailable(
                f"the replicas of {call.model} at {self._url} died while they computed the request",
                retryable=False,
            ) from error

    async def close(self) -> None:
        """Leaves the handles; the process stays in the cluster, in which it can be once."""
        if self._listing is not None:
            self._listing.cancel()
        await asyncio.to_thread(self._applications.close)

    async def _application(self, call: Call) -> str:
        """The application that a call is for.

        Raises:
            ModelNotFound: there is none.
            Unavailable: no version is the default, or the cluster could not be asked.
        """
        # Without a version the question is which is the default, and the answer may have changed.
        version = self._default(await self._deployed()) if call.version is None else call.version
        application = application_name(self._name, version)
        if call.model not in self._known.get(application, ()):
            await self._deployed()
        if call.model not in self._known.get(application, ()):
            raise ModelNotFound(f"{self._url} has no deployment {call.model!r} of version {version!r}")
        return application

    def _default(self, deployed: Mapping[str, Collection[str]]) -> str:
        prefix = application_name(self._name, "")
        versions = sorted(name.removeprefix(prefix) for name in deployed if name.startswith(prefix))
        marked = [version for version in deployed.get(self._name, ()) if version in versions]
        if len(marked) == 1:
            return marked[0]
        if len(versions) == 1:
            return versions[0]
        if not versions:
            raise Unavailable(f"{self._url} has no application {prefix}VERSION")
        raise Unavailable(f"{self._url} has the versions {', '.join(versions)}, and none is the default")

    async def _answer(self, application: str, call: Call) -> bytes:
        answer = asyncio.ensure_future(self._applications.embed(application, call.model, call.body))
        try:
            while True:
                done, _ = await asyncio.wait({answer}, timeout=RECHECK_SECONDS)
                error = answer.exception() if done else None
                # Of what is deleted Ray Serve says at most that it does not answer.
                waits = not done or isinstance(error, Unavailable)
                if waits and application not in await self._deployed():
                    raise ModelNotFound(f"{self._url} has the application {application} no more") from error
                if done:
                    return answer.result()
        finally:
            answer.cancel()

    async def _deployed(self) -> Mapping[str, Collection[str]]:
        """What the cluster has now; callers at the same time share one question."""
        listing = self._listing
        if listing is None:
            listing = self._listing = asyncio.create_task(asyncio.to_thread(self._applications.deployed))
            listing.add_done_callback(self._listed)
        self._known = await asyncio.shield(listing)
        return self._known

    def _listed(self, listing: asyncio.Task[Mapping[str, Collection[str]]]) -> None:
        self._listing = None
        if not listing.cancelled():
            listing.exception()  # Nobody may be left who would look at it.
