"""A small web for the tests of fetching: names that lead where a test says, and a server of odd answers."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

# Stands for the Internet in these tests, since none is to be had: the judgement of addresses lets it pass.
PUBLIC = "127.0.0.1"
# Another address of this machine, which is what it is: inside.
INSIDE = "127.0.0.2"
IMAGE = b"an image"


class Names(AbstractResolver):
    """Looks names up in a table: each look-up takes the next entry, the last one stays.

    Attributes:
        asked: the names that were looked up, in order.
    """

    def __init__(self, **table: list[list[str]]) -> None:
        self._table = {name.replace("_", "."): answers for name, answers in table.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._table.get(host)
        if answers is None:
            raise OSError(f"no such name: {host}")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


class Web:
    """A server at `PUBLIC` and `INSIDE`, at one port.

    Attributes:
        seen: the heads of the requests that came, with the address at which they did.
    """

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[tuple[str, str]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, by its path."""
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.seen.append((writer.get_extra_info("sockname")[0], head))
                await self._answer(head.split(" ")[1].partition("?")[0], writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        def say(status: str, body: bytes = b"", **headers: str) -> None:
            lines = [f"HTTP/1.1 {status}", "Connection: close"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)

        if path == "/cat.png":
            say("200 OK", IMAGE, Content_Length=str(len(IMAGE)), Content_Type="image/png")
        elif path.startswith("/to/"):
            say("302 Found", Location=path.removeprefix("/to/"))
        elif path == "/loop":
            say("302 Found", Location="/loop")
        elif path == "/missing":
            say("404 Not Found", b"none")
        elif path == "/bomb":
            packed = gzip.compress(bytes(50_000_000))
            say("200 OK", packed, Content_Encoding="gzip", Content_Length=str(len(packed)))
        elif path == "/large":
            say("200 OK", bytes(1001), Content_Length="1001")
        elif path == "/silent":
            await asyncio.Event().wait()
        elif path == "/slow":
            say("200 OK")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif path == "/endless":
            say("200 OK")
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        elif path == "/junk":
            writer.write(b"\0\1\2 no HTTP at all\r\n\r\n")


@contextlib.asynccontextmanager
async def web() -> AsyncIterator[Web]:
    """The server, while the block runs."""
    made = Web()
    working: set[Any] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        working.add(asyncio.current_task())
        await made.answer(reader, writer)

    first = await asyncio.start_server(answer, PUBLIC, 0)
    made.port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(answer, INSIDE, made.port)
    try:
        yield made
    finally:
        for server in (first, second):
            server.close()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
