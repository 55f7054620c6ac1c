"""Attacks over HTTP/2 and gRPC; `tests.gateway.attacks` runs them."""

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.rpc import embedder_pb2 as pb
from tests.gateway import frames
from tests.gateway.alone import Alone
from tests.gateway.attack_tools import FLOOD_PATIENCE, PATIENCE
from tests.gateway.frames import frame

BEARER = b"authorization"
_MOST_FRAME = 16_384  # bytes of a frame's payload, unless a server allows more
# Frames that no client sends, each on a connection of its own (RFC 9113, sections 4 to 6).
BROKEN = {
    "no preface": b"GET / HTTP/1.1\r\n\r\n",
    "a preface cut short": frames.PREFACE[:10],
    "a frame larger than allowed": struct.pack(">I", 2**24 - 1)[1:] + bytes([0, 0]) + struct.pack(">I", 1),
    "DATA of no stream": frame(frames.DATA, 0, 0, b"x"),
    "DATA of a stream that is not open": frame(frames.DATA, 0, 7, b"x"),
    "DATA with more padding than bytes": frame(frames.DATA, 8, 1, b"\xffx"),
    "HEADERS of no stream": frame(frames.HEADERS, frames.END_HEADERS, 0, b""),
    "HEADERS of an even stream": frame(frames.HEADERS, frames.END_HEADERS, 2, b"\x82"),
    "HEADERS that depend on themselves": frame(frames.HEADERS, 0x24, 1, struct.pack(">IB", 1, 0) + b"\x82"),
    "HEADERS of no HPACK": frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 50),
    "an index beyond the table": frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xfe"),
    "a table of 4 GB": frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x3f\xe0\xff\xff\xff\x0f"),
    "a number without end": frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x3f" + b"\xff" * 200),
    "CONTINUATION of nothing": frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
    "WINDOW_UPDATE by 0": frame(frames.WINDOW_UPDATE, 0, 0, bytes(4)),
    "a window beyond 31 bits": frame(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
    "SETTINGS of 5 bytes": frame(frames.SETTINGS, 0, 0, bytes(5)),
    "SETTINGS of a stream": frame(frames.SETTINGS, 0, 1, bytes(6)),
    "a frame of 1 byte at most": frame(frames.SETTINGS, 0, 0, b"\0\5\0\0\0\1"),
    "a window of 4 GB": frame(frames.SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
    "PING of 7 bytes": frame(frames.PING, 0, 0, bytes(7)),
    "RST_STREAM of no stream": frame(frames.RST_STREAM, 0, 0, bytes(4)),
    "a promise of a client": frame(5, frames.END_HEADERS, 1, struct.pack(">I", 2) + b"\x82"),
    "GOAWAY": frame(frames.GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"x" * 10_000),
    "a kind that there is not": frame(0xEE, 0xFF, 1, b"x" * 16_000),
}


def pings(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: PING after PING."""
    sent, end = frames.flood(
        target.grpc, [frame(frames.PING, payload=bytes(8)) * 100], size * 10_000, FLOOD_PATIENCE
    )
    return "PINGs", f"{end} after {sent:,} bytes"


def settings_flood(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: SETTINGS after SETTINGS, each of which asks for an acknowledgement."""
    one = frame(frames.SETTINGS, payload=b"\0\4\0\0\xff\xff")
    sent, end = frames.flood(target.grpc, [one * 100], size * 10_000, FLOOD_PATIENCE)
    return "SETTINGS", f"{end} after {sent:,} bytes"


def rapid_reset(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: calls that are given up as soon as they are made (CVE-2023-44487)."""
    return _calls(target, size, lambda stream: frame(frames.RST_STREAM, 0, stream, b"\0\0\0\x08"))


def made_you_reset(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: calls that the server has to give up, by a frame that is wrong (CVE-2025-8671)."""
    return _calls(target, size, lambda stream: frame(frames.WINDOW_UPDATE, 0, stream, bytes(4)))


def _calls(target: Alone, size: int, after: Callable[[int], bytes]) -> tuple[str, str]:
    block = frames.call_headers()
    parts = [
        frame(frames.HEADERS, frames.END_HEADERS, stream, block) + after(stream)
        for stream in range(1, 2 * size * 10, 2)
    ]
    sent, end = frames.flood(target.grpc, parts, 1, FLOOD_PATIENCE)
    return f"{len(parts):,} calls, each reset", f"{end} after {sent:,} bytes"


def continuation(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: headers that never end (CVE-2024-27316)."""
    begin = frame(frames.HEADERS, 0, 1, frames.call_headers())
    more = [frame(frames.CONTINUATION, 0, 1, frames.header(b"x" * 100, b"y" * 8000))] * 100
    sent, end = frames.flood(target.grpc, [begin, *more * (size // 10 + 1)], 1, FLOOD_PATIENCE)
    return "CONTINUATION without end", f"{end} after {sent:,} bytes"


def packed_headers(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: a header of 4 kB that is named ten thousand times, with a byte each."""
    sent, end = frames.flood(target.grpc, _packed(size, 10_000, 4000), 1, FLOOD_PATIENCE)
    return f"{size:,} heads of 40 MB in 10 kB", f"{end} after {sent:,} bytes"


def packed_headers_first(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: a header of a byte that is named 250,000 times, by one who acknowledges no settings."""
    heads = min(size, 50)
    sent, end = frames.flood(target.grpc, _packed(heads, 250_000, 0), 1, FLOOD_PATIENCE, polite=False)
    return f"{heads:,} heads of 8 MB in 250 kB", f"{end} after {sent:,} bytes"


def packed_headers_by_many(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: both, on 16 connections at once."""

    def attack(number: int) -> str:
        one = packed_headers if number % 2 else packed_headers_first
        return one(target, size)[1].partition(" after")[0]

    with ThreadPoolExecutor(16) as pool:
        ended = Counter(pool.map(attack, range(16)))
    return "16 connections", ", ".join(f"{count} × {end}" for end, count in sorted(ended.items()))


def _packed(heads: int, names: int, value: int) -> list[bytes]:
    """Calls whose heads name a header with a value of so many bytes, each time by a byte."""
    kept = b"\x40" + frames.header(b"x", b"y" * value)[1:]
    parts = []
    for stream in range(1, 2 * heads, 2):
        block = frames.call_headers() + (kept if stream == 1 else b"") + b"\xbe" * names
        pieces = [block[start : start + _MOST_FRAME] for start in range(0, len(block), _MOST_FRAME)]
        for place, piece in enumerate(pieces):
            kind = frames.CONTINUATION if place else frames.HEADERS
            flags = frames.END_HEADERS if place == len(pieces) - 1 else 0
            parts.append(frame(kind, flags, stream, piece))
    return parts


def empty_data(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: DATA without a byte, again and again (CVE-2019-9518)."""
    begin = frame(frames.HEADERS, frames.END_HEADERS, 1, _head(target))
    parts = [begin, *[frame(frames.DATA, 0, 1) * 1000] * size]
    sent, end = frames.flood(target.grpc, parts, 1, FLOOD_PATIENCE)
    return f"{size * 1000:,} empty frames", f"{end} after {sent:,} bytes"


def broken_frames(target: Alone, size: int) -> tuple[str, str]:
    """HTTP/2: frames that are none."""
    back: Counter[str] = Counter()
    for name, sent in BROKEN.items():
        begin = b"" if "preface" in name else frames.PREFACE + frame(frames.SETTINGS)
        with frames.connected(target.grpc, FLOOD_PATIENCE) as connection:
            connection.sendall(begin + sent)
            connection.settimeout(0.2)
            end = "open"
            with contextlib.suppress(TimeoutError):
                try:
                    while connection.recv(65536):
                        pass
                    end = "closed"
                except ConnectionError:
                    end = "closed"
            back[end] += 1
    return f"{len(BROKEN)} shapes", ", ".join(f"{count} × {end}" for end, count in sorted(back.items()))


def half_open(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: calls with a key whose message never comes."""
    with contextlib.ExitStack() as left:
        for _ in range(max(1, size // 500)):
            connection = left.enter_context(frames.opened(target.grpc, PATIENCE))
            for stream in range(1, 2 * min(size, 500), 2):
                connection.sendall(frame(frames.HEADERS, frames.END_HEADERS, stream, _head(target)))
            # It is answered after all of these: they have been read.
            _ask_last(connection)
    return f"{size:,} calls", "wait, and are given up with the connection"


def watches(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: streams that need no key and that nobody ends."""
    with contextlib.ExitStack() as left:
        held = []
        for _ in range(4):
            channel = left.enter_context(
                grpc.insecure_channel(
                    target.grpc.removeprefix("grpc://"), options=[("grpc.use_local_subchannel_pool", 1)]
                )
            )
            health = health_pb2_grpc.HealthStub(channel)
            held += [
                health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE) for _ in range(size // 4)
            ]
        back = Counter(_first(watch) for watch in held)
    return f"{size:,} streams", ", ".join(f"{count:,} × {end}" for end, count in sorted(back.items()))


def _first(watch: Iterator[Any]) -> str:
    try:
        next(watch)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def metadata(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: metadata far beyond what is allowed."""
    return "1 MB of metadata", _embed(target, b"", ("x-large", "x" * 1_000_000))


def packed_message(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: a message a thousand times as large when it is unpacked."""
    request = pb.EmbedItemsRequest(items=[pb.Item(text="a" * 100_000_000)]).SerializeToString()
    return "a compressed message of 100 MB", _embed(target, request, compression=grpc.Compression.Gzip)


def large_message(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: a message larger than is allowed."""
    request = pb.EmbedItemsRequest(items=[pb.Item(image=bytes(100_000_000))]).SerializeToString()
    return "a message of 100 MB", _embed(target, request)


def lying_message(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: a message that says of itself that it has 4 GB."""
    begin = frame(frames.HEADERS, frames.END_HEADERS, 1, _head(target))
    part = frame(frames.DATA, 0, 1, b"\0\xff\xff\xff\xff" + b"x" * 1000)
    with frames.connected(target.grpc, PATIENCE) as connection:
        connection.sendall(frames.PREFACE + frame(frames.SETTINGS) + begin + part)
        seen = b""
        # HPACK may have the status as bytes or packed; the sentence beside it is of gRPC's own.
        while b"message" not in seen and (more := connection.recv(65536)):
            seen += more
    return "a length of 4 GB", "refused" if seen else "closed"


def unread_answers(target: Alone, size: int) -> tuple[str, str]:
    """gRPC: calls whose answers nobody takes (CVE-2019-9517)."""
    request = pb.EmbedItemsRequest(items=[pb.Item(text="a")] * 500).SerializeToString()
    message = b"\0" + struct.pack(">I", len(request)) + request
    with frames.opened(target.grpc, PATIENCE) as connection:
        connection.sendall(frame(frames.SETTINGS, payload=b"\0\4\0\0\0\0"))  # no window
        for stream in range(1, 2 * min(size, 500), 2):
            connection.sendall(
                frame(frames.HEADERS, frames.END_HEADERS, stream, _head(target))
                + frame(frames.DATA, frames.END_STREAM, stream, message)
            )
        _ask_last(connection)
    return f"{min(size, 500)} calls of 500 items", "answers wait, and are thrown away with the connection"


def _ask_last(connection: socket.socket) -> None:
    """Wait for the answer to a PING, which comes when all that was sent before has been read."""
    connection.sendall(frame(frames.PING, payload=b"the last"))
    seen = b""
    while b"the last" not in seen:
        more = connection.recv(65536)
        assert more, "the connection was closed"
        seen += more


def _head(target: Alone) -> bytes:
    return frames.call_headers(frames.header(BEARER, f"Bearer {target.key}".encode()))


def _embed(
    target: Alone, request: bytes, *more: tuple[str, str], compression: grpc.Compression | None = None
) -> str:
    """The status of one call."""
    with grpc.insecure_channel(
        target.grpc.removeprefix("grpc://"),
        compression=compression,
        options=[("grpc.max_send_message_length", -1)],
    ) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/babelclip.v1.Embedder/Embed")
        try:
            call(request, metadata=(("authorization", f"Bearer {target.key}"), *more), timeout=PATIENCE)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


ATTACKS = (
    *(pings, settings_flood, rapid_reset, made_you_reset, continuation, empty_data),
    *(packed_headers, packed_headers_first, packed_headers_by_many),
    *(broken_frames, half_open, watches, metadata, packed_message, large_message, lying_message),
    unread_answers,
)
