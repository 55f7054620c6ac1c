"""HTTP: a POST of the wire format to TorchServe's /predictions, over httpx."""

from __future__ import annotations

import json
import time
import urllib.parse

import httpx

from babelclip.errors import (
    MALFORMED_REQUEST,
    MESSAGE_TOO_LARGE,
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    TransportError,
    Unavailable,
)
from babelclip.transport import Call

PROTOBUF = "application/x-protobuf"


class HttpTransport:
    """Keeps connections open between calls; `url` may have a path, under which a proxy serves TorchServe.

    Raises:
        ValueError: httpx cannot read the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is no address: {error}") from error
        self._url = url.rstrip("/")
        self._client = httpx.Client(headers={"content-type": PROTOBUF, "accept": PROTOBUF})

    def send(self, call: Call) -> bytes:
        """See `babelclip.transport.Transport.send`."""
        path = "/".join(urllib.parse.quote(part, safe="") for part in (call.model, call.version) if part)
        deadline = time.monotonic() + call.timeout
        try:
            with self._client.stream(
                "POST",
                f"{self._url}/predictions/{path}",
                content=call.body,
                headers={} if call.token is None else {"authorization": f"Bearer {call.token}"},
                timeout=call.timeout,
            ) as response:
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    # httpx limits each wait, not their sum; without this a trickle would never end.
                    if time.monotonic() > deadline:
                        raise self._late(call)
        except httpx.TimeoutException as error:
            raise self._late(call) from error
        except httpx.TransportError as error:
            raise Unavailable(f"no answer from {self._url}: {_reason(error)}") from error
        except httpx.DecodingError as error:
            raise ProtocolError(f"the answer of {self._url} is not encoded as its headers say") from error
        if _media_type(response) == PROTOBUF:
            return bytes(received)  # Whatever the status: the message itself says what was refused.
        raise _refusal(response.status_code, bytes(received), self._url)

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()

    def _late(self, call: Call) -> DeadlineExceeded:
        return DeadlineExceeded(f"no complete answer from {self._url} within {call.timeout:.3g} s")


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _refusal(status: int, body: bytes, url: str) -> BabelclipError:
    """An answer that did not come from a tower → what TorchServe, or a proxy before it, meant by it."""
    kind, message = torchserve_error(body)
    said = message or f"HTTP status {status}"
    if kind == "InvalidKeyException" or status in (401, 403):
        return AuthenticationError(f"{url} refused the token: {said}")
    if kind in ("ModelNotFoundException", "ModelVersionNotFoundException"):
        return ModelNotFound(said)
    if status == 413:
        return RequestRefused(
            MESSAGE_TOO_LARGE,
            f"the message is too large for {url}; lower max_message_bytes or raise the limit there",
        )
    if status in (429, 502, 503):
        return Unavailable(f"{url} has no free worker: {said}")
    if status == 504:
        return DeadlineExceeded(f"the server behind {url} took too long: {said}")
    if status in (500, 507) and "Worker died" in message:  # 507: killed, as for want of memory
        return Unavailable(f"the worker at {url} died while it computed the request", retryable=False)
    if status >= 500:
        return TransportError(f"{url} failed: {said}")
    if status == 400:
        return RequestRefused(MALFORMED_REQUEST, said)
    return ProtocolError(
        f"{url} answers with HTTP status {status} and no {PROTOBUF}; is it a babelclip server?"
    )


def torchserve_error(body: bytes) -> tuple[str, str]:
    """TorchServe's own error body → the name of its Java exception and its message; ("", "") for others."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(parsed, dict):
        return "", ""
    kind, message = parsed.get("type"), parsed.get("message")
    return (kind if isinstance(kind, str) else ""), (message if isinstance(message, str) else "")
