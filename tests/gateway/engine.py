"""An engine in memory with several versions, as TorchServe has them: no network, no model."""

from collections.abc import Awaitable, Callable

from babelclip import AuthenticationError, BabelclipError, Call, ModelNotFound
from babelclip.testing import InMemoryTransport
from gateway.fetch import ItemFetcher
from gateway.models import Models
from gateway.towers.engine import EngineTowers


class Engine:
    """A transport to versions, each an `InMemoryTransport` of a space of its own.

    Attributes:
        versions: by their names.
        default: the name of the default one, of each tower.
        token: what a call must show; None lets every call in.
        before: called with each call, and may raise.
        during: awaited in each call, which it may hold up.
        calls: what was sent, in order.
    """

    def __init__(self, *versions: InMemoryTransport) -> None:
        made = versions or (InMemoryTransport(),)
        self.versions = {version.version: version for version in made}
        self.default = dict.fromkeys(("text", "vision"), made[0].version)
        self.token: str | None = None
        self.before: Callable[[Call], None] = lambda call: None
        self.during: Callable[[Call], Awaitable[None]] = _nothing
        self.calls: list[Call] = []

    async def send(self, call: Call) -> bytes:
        self.calls.append(call)
        if call.token != self.token and self.token is not None:
            raise AuthenticationError("grpc://127.0.0.1:7070 refused the token")
        self.before(call)
        await self.during(call)
        version = call.version or self.default.get(call.model, "")
        if call.model not in self.default or version not in self.versions:
            raise ModelNotFound(f"no {call.model} {version}")
        return self.versions[version].send(call)

    async def close(self) -> None:
        pass

    def fail_with(self, error: BabelclipError) -> None:
        """From now on every call fails."""

        def before(call: Call) -> None:
            raise error

        self.before = before


async def _nothing(call: Call) -> None:
    pass


def towers(engine: Engine, **settings: float) -> EngineTowers:
    """The towers of an engine in memory."""
    return EngineTowers("grpc://127.0.0.1:1", transport=engine, **settings)  # type: ignore[arg-type]


def models(engine: Engine, fetcher: ItemFetcher | None = None) -> Models:
    """One model, `clip`, of an engine in memory."""
    return Models({"clip": towers(engine)}, fetcher=fetcher)
