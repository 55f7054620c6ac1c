"""A gateway on free ports for the tests: real servers in a thread, with an engine in memory behind them."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai

from babelclip.keys.entries import SCOPES
from babelclip.keys.file import add
from gateway.keys import KeyFile
from gateway.serve import Addresses, models_of, run
from gateway.settings import Settings
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine, towers

FREE_PORTS = {"port": 0, "grpc_port": 0, "metrics_port": 0}


class Front:
    """Where it listens, what stands behind it, a key that it lets in, and what tells it to stop."""

    def __init__(
        self, addresses: Addresses, engine: Engine, keys_file: Path, key: str, stop: Callable[[], None]
    ) -> None:
        self.addresses = addresses
        self.stop = stop
        self.engine = engine
        self.keys_file = keys_file
        self.key = key

    def sdk(self) -> openai.OpenAI:
        """OpenAI's SDK, set to the gateway as docs/gateway.md says."""
        return openai.OpenAI(base_url=f"{self.addresses.http}/v1", api_key=self.key, max_retries=0)

    def post(self, path: str = "/v1/embeddings", **sent: Any) -> httpx.Response:
        """One call with the key."""
        headers = {"authorization": f"Bearer {self.key}", **sent.pop("headers", {})}
        return httpx.post(f"{self.addresses.http}{path}", headers=headers, timeout=60, **sent)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """One call without a key, unless it is among the headers."""
        return httpx.get(f"{self.addresses.http}{path}", headers=headers, timeout=60)


@contextlib.contextmanager
def gateway(engine: Engine, folder: Path, **settings: Any) -> Iterator[Front]:
    """A gateway before an engine in memory; `settings` are those of `gateway.settings.Settings`."""
    keys_file = folder / "keys.json"
    key = add(keys_file, "test", scopes=SCOPES)
    given = Settings(**{**FREE_PORTS, "versions_file": str(folder / "versions.json"), **settings})
    told: queue.Queue[Any] = queue.Queue()

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        keys = KeyFile(keys_file) if given.authentication else None
        served = models_of({"clip": towers(engine)}, given)
        await run(given, served, keys, lambda addresses: told.put((addresses, loop, stop)), stop)

    def work() -> None:
        try:
            asyncio.run(serve())
            told.put(None)
        except BaseException as error:
            told.put(error)

    thread = threading.Thread(target=work)
    thread.start()
    first = told.get(timeout=PATIENCE)
    if isinstance(first, BaseException):
        raise first
    addresses, loop, stop = first

    def end() -> None:
        with contextlib.suppress(RuntimeError):  # It has ended.
            loop.call_soon_threadsafe(stop.set)

    try:
        yield Front(addresses, engine, keys_file, key, end)
    finally:
        end()
        thread.join(PATIENCE)
    last = told.get(timeout=PATIENCE)
    if last is not None:
        raise last
