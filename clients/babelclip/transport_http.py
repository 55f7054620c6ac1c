"""HTTP: a POST of the wire format to TorchServe's /predictions, over httpx."""

from __future__ import annotations

import json
import ssl
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
from babelclip.transport import Call, Tls

PROTOBUF = "application/x-protobuf"
_HEADERS = {"content-type": PROTOBUF, "accept": PROTOBUF}
# An event loop may have more calls at a time than httpx's own limit of 100 connections; who waits for one
# there would run into its timeout.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)


class HttpTransport:
    """Keeps connections open between calls; `url` may have a path, under which a proxy serves TorchServe.

    Raises:
        ValueError: httpx cannot read the URL, or there is something wrong with the certificates of `tls`.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        self._url = _checked(url)
        self._client = httpx.Client(headers=_HEADERS, limits=_LIMITS, verify=_ssl_context(tls))

    def send(self, call: Call) -> bytes:
        """See `babelclip.transport.Transport.send`."""
        deadline = time.monotonic() + call.timeout
        received = bytearray()
        try:
            request = _request(self._client, self._url, call)
            response = self._client.send(request, stream=True)
            try:
                for chunk in response.iter_bytes():
                    received += chunk
                    _require_time(deadline, self._url, call)
            finally:
                response.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _failure(error, self._url, call) from error
        return _answer(response, bytes(received), self._url)

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()


class AsyncHttpTransport:
    """`HttpTransport` for an event loop; used within one alone."""

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        self._url = _checked(url)
        self._client = httpx.AsyncClient(headers=_HEADERS, limits=_LIMITS, verify=_ssl_context(tls))

    async def send(self, call: Call) -> bytes:
        """See `babelclip.transport.Transport.send`."""
        deadline = time.monotonic() + call.timeout
        received = bytearray()
        try:
            request = _request(self._client, self._url, call)
            response = await self._client.send(request, stream=True)
            try:
                async for chunk in response.aiter_bytes():
                    received += chunk
                    _require_time(deadline, self._url, call)
            finally:
                await response.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _failure(error, self._url, call) from error
        return _answer(response, bytes(received), self._url)

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.aclose()


def _checked(url: str) -> str:
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no address: {error}") from error
    return url.rstrip("/")


def _ssl_context(tls: Tls | None) -> ssl.SSLContext | bool:
    if tls is None:
        return True
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"TLS: the certificates cannot be used: {_reason(error)}") from error
    return context


def _request(client: httpx.Client | httpx.AsyncClient, url: str, call: Call) -> httpx.Request:
    path = "/".join(urllib.parse.quote(part, safe="") for part in (call.model, call.version) if part)
    headers = dict(call.headers)
    if call.token is not None:
        headers["authorization"] = f"Bearer {call.token}"
    address = f"{url}/predictions/{path}"
    return client.build_request("POST", address, content=call.body, headers=headers, timeout=call.timeout)


def _require_time(deadline: float, url: str, call: Call) -> None:
    # httpx limits each wait, not their sum; without this a trickle would never end.
    if time.monotonic() > deadline:
        raise _late(url, call)


def _late(url: str, call: Call) -> DeadlineExceeded:
    return DeadlineExceeded(f"no complete answer from {url} within {call.timeout:.3g} s")


def _failure(error: Exception, url: str, call: Call) -> BabelclipError:
    if isinstance(error, httpx.TimeoutException):
        return _late(url, call)
    if isinstance(error, httpx.DecodingError):
        return ProtocolError(f"the answer of {url} is not encoded as its headers say")
    return Unavailable(f"no answer from {url}: {_reason(error)}")


def _answer(response: httpx.Response, body: bytes, url: str) -> bytes:
    media_type = str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
    if media_type == PROTOBUF:
        return body  # Whatever the status: the message itself says what was refused.
    raise _refusal(response.status_code, body, url)


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
