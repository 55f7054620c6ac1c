"""Attacks on a gateway, while another caller goes on: what came back, the memory, and whether others noticed.

    python -m tests.gateway.attacks [--size 5000]

starts a gateway in a process of its own and prints a line for each attack: what was sent, what came back, by
how many megabytes the process grew at most, and how many calls of another caller were answered meanwhile and
how slowly. It fails, with exit status 1, if one of those calls did, or if the gateway ended.
"""

import argparse
import contextlib
import gzip
import itertools
import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.gateway import attacks_collections, attacks_grpc
from tests.gateway.alone import Alone, alone
from tests.gateway.attack_tools import PATIENCE, answer_of, connected, head, poured

CALL = json.dumps({"input": "a"}).encode()
# What two servers may read differently, and so smuggle a second request past one of them.
SMUGGLING = {
    "CL and TE": b"Content-Length: 6\r\nTransfer-Encoding: chunked",
    "two CL": b"Content-Length: 14\r\nContent-Length: 5",
    "a list of CL": b"Content-Length: 14, 14",
    "CL with a sign": b"Content-Length: +14",
    "CL in hexadecimal": b"Content-Length: 0xe",
    "CL beyond 64 bits": b"Content-Length: 99999999999999999999999",
    "CL before a blank": b"Content-Length : 14",
    "two TE": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "TE, not chunked last": b"Transfer-Encoding: chunked, identity",
    "TE with a control": b"Transfer-Encoding: \x0bchunked",
    "TE in quotes": b'Transfer-Encoding: "chunked"',
    "a folded header": b"X: a\r\n b: c",
    "CR alone": b"X: a\rContent-Length: 14",
    "NUL": b"X: a\0b",
    "a chunk's size in 0x": b"Transfer-Encoding: chunked\r\n\r\n0xe",
    "a chunk beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff",
    "LF in an extension": b"Transfer-Encoding: chunked\r\n\r\n5;a\nb",
}


# Another part of a server may read these as the address of a call, or as one that needs no key.
TRICKS = (
    *(
        b"/v1/../v1/embeddings",
        b"//v1/embeddings",
        b"/v1//embeddings",
        b"/./v1/embeddings",
        b"/v1/embeddings/",
    ),
    *(b"/ui/../v1/embeddings", b"/ui/%2e%2e/v1/embeddings", b"/healthz/../v1/models", b"/healthz/v1/models"),
    *(
        b"/ui/..%2fv1/models",
        b"/ui/files/../../../v1/models",
        b"/ui/%252e%252e/v1/models",
        b"/.%2e/v1/models",
    ),
    *(b"/v1/embeddings%00", b"/v1/embeddings;.css", b"/v1/embeddings?x=/healthz", b"/v1/embeddings%20"),
    *(
        b"/V1/EMBEDDINGS",
        b"/v1%2fembeddings",
        b"/%76%31/embeddings",
        b"/v1/models%2f",
        b"/v1/models%23/healthz",
    ),
    *(
        b"http://x/v1/embeddings",
        b"http://x/healthz/../v1/models",
        b"http://127.0.0.1/v1/models",
        b"\\v1\\models",
    ),
    *(b"/healthz%0a/v1/models", b"/healthz%0d%0aX:%20y/v1/models", b"*", b"/v1/models#/healthz", b"x" * 9000),
    *(
        b"/v1/collections/../models",
        b"/v1/admin/../models",
        b"/predictions/../v1/models",
        b"/%c0%ae%c0%ae/v1/models",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What came of an attack.

    Attributes:
        grown: megabytes by which the gateway's process was at most larger than before.
        answered: calls of another caller meanwhile; all of them were answered.
        slowest: seconds that the slowest of these took.
        failed: what went wrong for the other caller.
    """

    name: str
    sent: str
    came_back: str
    grown: float
    answered: int
    slowest: float
    failed: list[str]


def idle(target: Alone, size: int) -> tuple[str, str]:
    """Connections that say nothing, some over HTTP and some over gRPC."""
    return _held(target, size, b"")


def slow_heads(target: Alone, size: int) -> tuple[str, str]:
    """Slow loris: heads that do not end."""
    return _held(target, size, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")


def slow_bodies(target: Alone, size: int) -> tuple[str, str]:
    """Bodies that come byte by byte, after a refusal."""
    return _held(target, size, head(target, b"Content-Length: 100000000", key=False))


def _held(target: Alone, size: int, begin: bytes) -> tuple[str, str]:
    with contextlib.ExitStack() as opened:
        held = []
        for number in range(size):
            address = target.grpc if not begin and number % 2 else target.http
            connection = opened.enter_context(connected(target, address))
            with contextlib.suppress(ConnectionError):  # It may be refused before it has come whole.
                connection.sendall(begin)
            held.append(connection)
        time.sleep(min(1.0, size / 100))  # for the other caller's calls: they are what is counted
        begun = time.monotonic()
        back: Counter[str] = Counter()
        for connection in held:
            connection.settimeout(max(0.01, 30.0 - (time.monotonic() - begun)) if size > 500 else 0.01)
            back[answer_of(connection)] += 1
    told = ", ".join(f"{count:,} × {status}" for status, count in sorted(back.items()))
    return f"{size:,} connections", told.replace("closed", "open or closed")


def header_bomb(target: Alone, size: int) -> tuple[str, str]:
    """Headers without end."""
    with connected(target) as connection:
        begin = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        return "headers without end", poured(connection, begin, b"X: " + b"x" * 1000 + b"\r\n", 200_000_000)


def many_headers(target: Alone, size: int) -> tuple[str, str]:
    """Heads of 64 kB that are sixteen thousand empty headers each, and do not end."""
    return _held(target, size, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 16_000)


def gzip_bomb(target: Alone, size: int) -> tuple[str, str]:
    """A body that is a thousand times as large when it is unpacked."""
    bomb = gzip.compress(bytes(size * 100_000))
    headers = {"authorization": f"Bearer {target.key}", "content-encoding": "gzip"}
    answer = httpx.post(f"{target.http}/v1/embeddings", content=bomb, headers=headers, timeout=PATIENCE)
    return f"{len(bomb):,} bytes of gzip, {size // 10:,} MB", str(answer.status_code)


def endless_body(target: Alone, size: int) -> tuple[str, str]:
    """Chunk after chunk."""
    with connected(target) as connection:
        begin = head(target, b"Transfer-Encoding: chunked")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        return "chunks without end", poured(connection, begin, chunk, 2_000_000_000)


def announced_body(target: Alone, size: int) -> tuple[str, str]:
    """A length beyond the limit."""
    with connected(target) as connection:
        connection.sendall(head(target, b"Content-Length: 99999999999"))
        return "Content-Length: 99999999999", answer_of(connection)


def many_values(target: Alone, size: int) -> tuple[str, str]:
    """JSON that takes twenty times its bytes when it is read."""
    body = b'{"input": [' + b"{}," * (size * 4_000) + b"{}]}"
    headers = {"authorization": f"Bearer {target.key}"}
    answer = httpx.post(f"{target.http}/v1/embeddings", content=body, headers=headers, timeout=PATIENCE)
    return f"{len(body):,} bytes of empty objects", str(answer.status_code)


def smuggling(target: Alone, size: int) -> tuple[str, str]:
    """Requests that two servers may read differently, each with a second one behind it."""
    back: Counter[str] = Counter()
    for lines in SMUGGLING.values():
        with connected(target) as connection:
            connection.sendall(head(target, lines) + CALL + b"\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
            whole = b""
            with contextlib.suppress(OSError):
                while part := connection.recv(65536):
                    whole += part
            back[
                f"{whole.split(b' ')[1].decode()}, one answer" if whole.count(b"HTTP/1.1 ") == 1 else "two"
            ] += 1
    told = ", ".join(f"{count} × {status}" for status, count in back.items())
    return f"{len(SMUGGLING)} shapes", told


def far_ahead(target: Alone, size: int) -> tuple[str, str]:
    """Request after request, and no answer read."""
    with connected(target) as connection:
        request = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"
        return "requests without reading", poured(connection, b"", request * 1000, 500_000_000)


def guessing(target: Alone, size: int) -> tuple[str, str]:
    """Keys that are none, one after another."""
    back: Counter[int] = Counter()
    with httpx.Client(base_url=target.http, timeout=PATIENCE) as client:
        for number in range(size):
            wrong = f"{target.key[:-6]}{number:06}"
            headers = {"authorization": f"Bearer {wrong}"}
            back[client.post("/v1/embeddings", content=CALL, headers=headers).status_code] += 1
    return f"{size:,} guesses", ", ".join(f"{count:,} × {status}" for status, count in back.items())


def tricks(target: Alone, size: int) -> tuple[str, str]:
    """Addresses that might lead past the question for a key."""
    back: Counter[str] = Counter()
    for place in TRICKS:
        for method in (b"POST", b"GET", b"HEAD", b"OPTIONS"):
            with connected(target) as connection:
                length = b"Content-Length: %d\r\n\r\n" % len(CALL) + CALL if method == b"POST" else b"\r\n"
                connection.sendall(
                    method + b" " + place + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + length
                )
                back[answer_of(connection)] += 1
    told = ", ".join(f"{count} × {status}" for status, count in sorted(back.items()))
    return f"{len(TRICKS)} addresses", told


ATTACKS: tuple[Callable[[Alone, int], tuple[str, str]], ...] = (
    *(
        idle,
        slow_heads,
        slow_bodies,
        header_bomb,
        many_headers,
        gzip_bomb,
        endless_body,
        announced_body,
        many_values,
    ),
    *(smuggling, far_ahead, guessing, tricks),
    *attacks_grpc.ATTACKS,
    *attacks_collections.ATTACKS,
)


def run(target: Alone, attack: Callable[[Alone, int], tuple[str, str]], size: int) -> Outcome:
    """One attack, with another caller beside it."""
    over = threading.Event()
    took: list[float] = []
    failed: list[str] = []
    before = target.megabytes()
    peak = before

    def call() -> None:
        headers = {"authorization": f"Bearer {target.key}"}
        with httpx.Client(timeout=PATIENCE, headers=headers) as client:
            for number in itertools.count():
                began = time.monotonic()
                try:
                    answer = client.post(f"{target.http}/v1/embeddings", json={"input": f"{number}"})
                    if answer.status_code != 200:
                        failed.append(f"{answer.status_code}: {answer.text[:200]}")
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                took.append(time.monotonic() - began)
                if over.wait(0.05):
                    return

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, target.megabytes())

    beside = [threading.Thread(target=work) for work in (call, watch)]
    for thread in beside:
        thread.start()
    try:
        sent, came_back = attack(target, size)
    finally:
        over.set()
        for thread in beside:
            thread.join()
    peak = max(peak, target.megabytes())
    name = (attack.__doc__ or "").rstrip(".")
    return Outcome(name, sent, came_back, peak - before, len(took), max(took), failed)


def main(arguments: list[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.attacks")
    parser.add_argument("--size", type=int, default=5000, help="connections that are held open, and the like")
    size = parser.parse_args(arguments).size
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    good = True
    with alone() as target:
        attacks_collections.prepare(target)
        for attack in ATTACKS:
            found = run(target, attack, size)
            good &= not found.failed
            print(
                f"| {found.name} | {found.sent} | {found.came_back} | {found.grown:.0f} MB | {found.answered}"
                f" answered, the slowest after {found.slowest * 1000:.0f} ms |",
                *found.failed[:1],
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
