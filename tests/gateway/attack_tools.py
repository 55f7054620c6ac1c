"""What attackers work with: connections on which they write by hand, and what comes back on them."""

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.gateway.alone import Alone

PATIENCE = 60.0
FLOOD_PATIENCE = 5.0  # what others wait meanwhile is counted, so that this need not be long


@contextlib.contextmanager
def connected(target: Alone, address: str | None = None) -> Iterator[socket.socket]:
    """A connection of somebody who writes by hand."""
    url = urlsplit(address or target.http)
    with socket.create_connection((str(url.hostname), url.port or 0), timeout=PATIENCE) as connection:
        yield connection


def answer_of(connection: socket.socket, *, most: int = 10_000) -> str:
    """The status that comes, `closed` or `nothing`."""
    found = b""
    with contextlib.suppress(OSError):
        while b"\r\n" not in found and len(found) < most:
            part = connection.recv(4096)
            if not part:
                break
            found += part
    if not found:
        return "closed"
    return found.split(b" ")[1].decode() if found.startswith(b"HTTP/1.1 ") else "no HTTP"


def head(target: Alone, *lines: bytes, key: bool = True, path: bytes = b"/v1/embeddings") -> bytes:
    """The head of a call."""
    bearer = [f"Authorization: Bearer {target.key}".encode()] if key else []
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: x", *bearer, *lines, b"", b""])


def poured(connection: socket.socket, begin: bytes, part: bytes, most: int) -> str:
    """Sends without end → what came back, and after how much."""
    connection.sendall(begin)
    sent = len(begin)
    with contextlib.suppress(OSError):
        while sent < most:
            connection.sendall(part)
            sent += len(part)
    if sent >= most:
        return "all taken"
    return f"{answer_of(connection)}, cut off"
