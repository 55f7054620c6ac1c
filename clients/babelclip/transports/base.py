"""What carries a call to a server: one method, so that anything can be behind it.

HTTP and gRPC differ in addresses, headers and the names of their failures; a transport hides that and raises
the errors of `babelclip.errors`. It makes one attempt: retries and tokens are the client's business.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from babelclip.errors import TransportError

VERSION_HEADER = "babelclip-version"
"""The header, or metadata, that repeats the version of a call, so that a proxy finds who serves it."""


@dataclass(frozen=True)
class Call:
    """One request to one model.

    Attributes:
        model: the name TorchServe knows the tower by.
        version: its version, or None for the default one.
        body: a serialized EmbedRequest.
        token: goes into the `Authorization` header or metadata as a bearer token; None sends none.
        timeout: seconds until `DeadlineExceeded`, from now to the last byte of the answer.
        headers: further ones, or metadata over gRPC, with names in lower case.
        allowed: the seconds that the caller allowed, of which `timeout` is what is left, and which an error
            names; None where they are the same.
    """

    model: str
    version: str | None
    body: bytes
    token: str | None
    timeout: float
    headers: tuple[tuple[str, str], ...] = ()
    allowed: float | None = None

    @property
    def sent_headers(self) -> tuple[tuple[str, str], ...]:
        """`headers`, and the version, if one is asked for and it can stand in a header."""
        version = self.version or ""
        if not version or not version.isascii() or not version.isprintable():
            return self.headers
        return (*self.headers, (VERSION_HEADER, version))

    @property
    def limit(self) -> str:
        """The timeout that the caller set, in words."""
        return f"{self.timeout if self.allowed is None else self.allowed:g} s"


@dataclass(frozen=True)
class Tls:
    """What a TLS connection trusts and shows: files in PEM.

    Attributes:
        ca_file: certificate authorities to trust instead of the usual ones.
        certificate_file, key_file: what this client shows to a server that asks for it; both or neither.
    """

    ca_file: str | os.PathLike[str] | None = None
    certificate_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs both certificate_file and key_file")
        for path in (self.ca_file, self.certificate_file, self.key_file):
            if path is not None and not os.path.isfile(path):
                raise ValueError(f"TLS: there is no file {os.fspath(path)}")


@runtime_checkable
class AsyncTransport(Protocol):
    """`Transport` for an event loop: `AsyncClient` sends through it, many calls at a time."""

    async def send(self, call: Call) -> bytes:
        """See `Transport.send`."""
        ...

    async def close(self) -> None:
        """Closes the connections; no call follows."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Carries one call. Must be usable from several threads at once."""

    def send(self, call: Call) -> bytes:
        """A serialized EmbedResponse; which may itself say that the request or an item was refused.

        Raises:
            TransportError: and its subclasses; `Unavailable.retryable` says whether to try again.
            AuthenticationError, ModelNotFound, RequestRefused, ProtocolError: as their names say.
        """
        ...

    def close(self) -> None:
        """Closes the connections; no call follows."""
        ...


def other_loop() -> TransportError:
    """The error of a call in another event loop than the one in which its connections are."""
    return TransportError(
        "an AsyncClient belongs to one event loop, and this one was used in another before: make one in each,"
        " by `async with`, or use Client"
    )
