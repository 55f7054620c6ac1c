"""What one HTTP call costs its caller: httpx and aiohttp, in threads and in an event loop.

    python -m benchmarks.http_libraries [--pairs 9]

A server on the loopback interface answers with ready vectors, so that what is measured is the library. Each
pair has both sides, in turns one first and the other; figures are medians, of processor time and of time.

    async     httpx.AsyncClient beside our transport for event loops, which is aiohttp
    threads   aiohttp, in an event loop of another thread, beside our transport for threads, which is httpx
"""

import argparse
import asyncio
import multiprocessing
import threading
import time
from collections.abc import Awaitable, Callable
from multiprocessing.queues import SimpleQueue
from statistics import median
from typing import Any

import httpx
import numpy as np

from babelclip.embedding_pb2 import EmbedResponse
from babelclip.transports import http_wire
from babelclip.transports.base import Call
from babelclip.transports.http import HttpTransport
from babelclip.transports.http_async import AsyncHttpTransport
from benchmarks.support import report
from benchmarks.support.towers import FOLDER

DIM = 512
Cost = tuple[float, float]
"""Microseconds of a call: of processor time, and of time."""


def serve(vectors: int, ports: "SimpleQueue[int]") -> None:
    """Answer every request with so many vectors, until the process is ended."""
    response = EmbedResponse(space="measured", dim=DIM, logit_scale=50.0, version="1.0")
    response.vectors = np.ones(vectors * DIM, "<f4").tobytes()
    body = response.SerializeToString()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {http_wire.PROTOBUF}\r\ncontent-length: {len(body)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                fields = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0]))
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def measure(send: Callable[[Call], object], call: Call, calls: int) -> Cost:
    """The cost of a call, after a first one that connects."""
    send(call)
    began, used = time.perf_counter(), time.process_time()
    for _ in range(calls):
        send(call)
    return (time.process_time() - used) / calls * 1e6, (time.perf_counter() - began) / calls * 1e6


async def measure_async(send: Callable[[Call], Awaitable[object]], call: Call, calls: int) -> Cost:
    """`measure`, of calls that are awaited."""
    await send(call)
    began, used = time.perf_counter(), time.process_time()
    for _ in range(calls):
        await send(call)
    return (time.process_time() - used) / calls * 1e6, (time.perf_counter() - began) / calls * 1e6


def async_aiohttp(url: str, call: Call, calls: int) -> Cost:
    """Our own transport for event loops."""

    async def run() -> Cost:
        transport = AsyncHttpTransport(url)
        try:
            return await measure_async(transport.send, call, calls)
        finally:
            await transport.close()

    return asyncio.run(run())


def async_httpx(url: str, call: Call, calls: int) -> Cost:
    """The same calls over httpx."""

    async def run() -> Cost:
        async with httpx.AsyncClient(trust_env=False) as client:

            async def send(call: Call) -> bytes:
                response = await client.post(
                    http_wire.address_of(url, call),
                    content=call.body,
                    headers=http_wire.headers_of(call),
                    timeout=call.timeout,
                )
                content_type = response.headers.get("content-type")
                return http_wire.checked_answer(response.status_code, content_type, response.content, url)

            return await measure_async(send, call, calls)

    return asyncio.run(run())


def threads_httpx(url: str, call: Call, calls: int) -> Cost:
    """Our own transport for threads."""
    transport = HttpTransport(url)
    try:
        return measure(transport.send, call, calls)
    finally:
        transport.close()


def threads_aiohttp(url: str, call: Call, calls: int) -> Cost:
    """The transport for event loops, in one that a thread of its own runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    transport = AsyncHttpTransport(url)

    def send(call: Call) -> bytes:
        return asyncio.run_coroutine_threadsafe(transport.send(call), loop).result()

    try:
        return measure(send, call, calls)
    finally:
        asyncio.run_coroutine_threadsafe(transport.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


COMPARED = {"async": (async_httpx, async_aiohttp), "threads": (threads_aiohttp, threads_httpx)}


def compare(vectors: int, calls: int, pairs: int) -> list[dict[str, Any]]:
    """Both comparisons, for answers of so many vectors: a row for each figure."""
    # A process of its own that inherits nothing: this one has threads.
    context = multiprocessing.get_context("spawn")
    ports = context.SimpleQueue()
    server = context.Process(target=serve, args=(vectors, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get()}"
    call = Call("text", "1.0", b"x" * 32 * vectors, None, 60.0)
    rows: list[dict[str, Any]] = []
    for name, sides in COMPARED.items():
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for pair in range(pairs):
            for side in (0, 1) if pair % 2 else (1, 0):
                costs[side].append(sides[side](url, call, calls))
        for index, unit in enumerate(("processor", "time")):
            other, ours = (median(cost[index] for cost in side) for side in costs)
            ratio = median(a[index] / b[index] for a, b in zip(*costs, strict=True))
            row = {"vectors": vectors, "in": name, "of": unit, "other": other, "ours": ours, "ratio": ratio}
            rows.append(row)
    server.terminate()
    server.join()
    return rows


def main() -> None:
    """Measure answers of one vector, and of a full message."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.http_libraries", description="What one HTTP call costs, by library."
    )
    parser.add_argument("--pairs", type=int, default=9, help="measurements of each side")
    pairs = parser.parse_args().pairs
    rows = [row for vectors, calls in ((1, 400), (256, 60)) for row in compare(vectors, calls, pairs)]
    report.table("µs of a call", list(rows[0]), [list(row.values()) for row in rows])
    FOLDER.mkdir(parents=True, exist_ok=True)
    report.finish(
        "http_libraries",
        {f"{row['in']}_{row['of']}_{row['vectors']}": round(row["ratio"], 2) for row in rows},
        {"rows": rows},
    )


if __name__ == "__main__":
    main()
