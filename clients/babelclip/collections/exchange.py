"""One call over HTTP: what is sent, what comes back, and which error an answer is.

{"error": {"code": "collection_not_found", "message": "…"}}  →  RequestRefused("collection_not_found", …)
"""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from babelclip.errors import (
    SPACE_MISMATCH,
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    SpaceMismatch,
    TransportError,
    Unavailable,
)
from babelclip.transports.base import Tls
from babelclip.transports.http_wire import reason_of, ssl_context
from babelclip.transports.proxies import kind_of, proxy_for
from babelclip.transports.url import parse_address

MOST_BYTES = 256_000_000
"""Of an answer; more is not read."""


@dataclass(frozen=True)
class Request:
    """A call of one attempt.

    Attributes:
        path: below the gateway's address, with what it holds quoted.
        body: sent as JSON; None for none.
        repeatable: whether a second one does no harm where nobody knows what became of the first.
        most_bytes: of the answer.
        token: sent as a bearer token.
        timeout: seconds until the last byte of the answer.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    repeatable: bool = True
    most_bytes: int = MOST_BYTES
    token: str | None = None
    timeout: float = 30.0

    def headers(self) -> dict[str, str]:
        """What travels beside the body."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class Answer:
    """Whatever came back; names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Busy(Unavailable):
    """The gateway has no room at the moment; `after` are the seconds that it asks to wait."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return type(self), (str(self), self.after)


def settings(url: str, tls: Tls | None) -> tuple[str, dict[str, Any]]:
    """The address without a slash at its end, and how httpx connects to it.

    Raises:
        ValueError: the address is none of HTTP, or the certificates cannot be used.
    """
    address = parse_address(url)
    if address.scheme not in ("http", "https"):
        raise ValueError(f"{url!r} must start with http:// or https://: collections are had over HTTP")
    if tls is not None and address.scheme != "https":
        raise ValueError(f"{url!r} has no TLS that certificates could be for; write https://")
    secure = address.scheme == "https"
    # Nothing of the environment but what is asked for here, as in `babelclip.transports.http`.
    return f"{address.scheme}://{address.target}{address.path}", {
        "verify": ssl_context(tls) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "proxy": proxy_for(address.scheme, address.host),
        "trust_env": False,
    }


def unusable_proxy(proxy: str) -> ValueError:
    """The error of a proxy that httpx cannot use; its address may hold a password, so it is not told."""
    return ValueError(
        f"the environment names a proxy of the kind {kind_of(proxy)!r} that cannot be used; put the gateway"
        " into NO_PROXY if it is reached without one, or install 'httpx[socks]'"
    )


def failed(url: str, request: Request, error: httpx.HTTPError) -> BabelclipError:
    """The error of a call to which nothing, or not everything, came back."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Unavailable(f"no answer from {url}: {reason_of(error)}")  # Nothing was sent.
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded(f"no complete answer from {url} within {request.timeout:.3g} s")
    if isinstance(error, httpx.DecodingError):
        return ProtocolError(f"the answer of {url} is not encoded as its headers say")
    return Unavailable(f"no answer from {url}: {reason_of(error)}", retryable=request.repeatable)


def too_large(url: str, request: Request) -> RequestRefused:
    """The error of an answer with more bytes than are read."""
    message = f"the answer of {url} has more than {request.most_bytes:,} bytes"
    return RequestRefused("response_too_large", message)


def checked(answer: Answer, url: str) -> Answer:
    """The same answer, where it is none that says why there is none.

    Raises:
        BabelclipError: it is; which, its status and its code say.
    """
    if 200 <= answer.status < 300:
        return answer
    code, message = _error(answer.body)
    raise _refusal(answer, code, message or f"HTTP status {answer.status}", url)


def parsed(answer: Answer, url: str) -> Any:
    """The JSON of an answer.

    Raises:
        ProtocolError: it holds none.
    """
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise foreign(url) from None


def foreign(url: str) -> ProtocolError:
    """The error of an answer that no gateway gives."""
    return ProtocolError(f"{url} does not answer as a gateway does; is it another server's address?")


def _refusal(answer: Answer, code: str, said: str, url: str) -> BabelclipError:
    status = answer.status
    if status in (401, 403):
        return AuthenticationError(f"{url} refused the token: {said}")
    if code == "model_not_found":
        return ModelNotFound(said)
    if code == SPACE_MISMATCH:
        return SpaceMismatch(said)
    if status in (429, 502, 503):
        return Busy(f"{url} has no room: {said}", _seconds(answer.headers.get("retry-after")))
    if status in (408, 504):
        return DeadlineExceeded(f"{url} took too long: {said}")
    if status >= 500:
        return TransportError(f"{url} failed: {said}")
    if code:
        return RequestRefused(code, said)
    return foreign(url)


def _error(body: bytes) -> tuple[str, str]:
    """(code, message) of the gateway's error; ("", "") for what is none."""
    try:
        error = json.loads(body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def _seconds(text: str | None) -> float:
    """Of a Retry-After; 0 where it is missing, or a date."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
