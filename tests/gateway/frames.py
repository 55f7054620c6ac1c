"""HTTP/2 by hand, for what no client of gRPC sends: floods of frames, and headers without end."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
ACK = 1


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A header as HPACK's literal without an index, neither part compressed."""
    return b"\0" + _string(name) + _string(value)


def call_headers(*more: bytes, path: bytes = b"/babelclip.v1.Embedder/Embed") -> bytes:
    """The headers of a call of gRPC."""
    pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    pairs += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    return b"".join(header(name, value) for name, value in pairs) + b"".join(more)


@contextlib.contextmanager
def connected(address: str, patience: float) -> Iterator[socket.socket]:
    """A connection to a port of gRPC, on which nothing has been said."""
    url = urlsplit(address)
    with socket.create_connection((str(url.hostname), url.port or 0), timeout=patience) as connection:
        yield connection


@contextlib.contextmanager
def opened(address: str, patience: float) -> Iterator[socket.socket]:
    """A connection on which both have said and acknowledged their settings, as clients do."""
    with connected(address, patience) as connection:
        acknowledge(connection)
        yield connection


def acknowledge(connection: socket.socket) -> None:
    """Begin a connection as clients do: with settings, and the acknowledgement of the server's."""
    connection.sendall(PREFACE + frame(SETTINGS))
    if not connection.recv(65536):  # It begins with the server's settings.
        raise ConnectionError("the server has closed the connection")
    connection.sendall(frame(SETTINGS, ACK))


def flood(
    address: str, parts: list[bytes], most: int, patience: float, *, polite: bool = True
) -> tuple[int, str]:
    """Send the parts over and over → bytes that were sent, and how it ended: `cut off`, `held back` by a
    server that reads no more for `patience` seconds, since nobody reads what it answers, or `all taken`.

    Args:
        polite: acknowledge the server's settings before.
    """
    sent = 0
    with connected(address, patience) as connection:
        try:
            if polite:
                acknowledge(connection)
            else:
                connection.sendall(PREFACE + frame(SETTINGS))
            connection.setblocking(False)
            while sent < most:
                for part in parts:
                    connection.settimeout(patience)
                    connection.sendall(part)
                    sent += len(part)
                connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while connection.recv(65536):
                        pass
                    return sent, "cut off"
        except ConnectionError:
            return sent, "cut off"
        except TimeoutError:
            return sent, "held back"
    return sent, "all taken"


def _string(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size -= 127
    encoded = bytearray([127])
    while size >= 128:
        encoded.append(size % 128 + 128)
        size //= 128
    encoded.append(size)
    return bytes(encoded) + text
