"""What a call and its answer look like over HTTP, whichever library carries them."""

from __future__ import annotations

import json
import os
import ssl
import urllib.parse

import certifi

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
from babelclip.transports.base import Call, Tls

PROTOBUF = "application/x-protobuf"


def address_of(url: str, call: Call) -> str:
    """Where a call goes: TorchServe's path of its model, below `url`."""
    path = "/".join(urllib.parse.quote(part, safe="") for part in (call.model, call.version) if part)
    return f"{url}/predictions/{path}"


def headers_of(call: Call) -> dict[str, str]:
    """The call's headers, its token among them."""
    headers = {"content-type": PROTOBUF, "accept": PROTOBUF, **dict(call.sent_headers)}
    if call.token is not None:
        headers["authorization"] = f"Bearer {call.token}"
    return headers


def ssl_context(tls: Tls | None) -> ssl.SSLContext:
    """Trusts the authorities of `tls`, or those of $SSL_CERT_FILE and $SSL_CERT_DIR, or Mozilla's list.

    Raises:
        ValueError: these files hold no certificates.
    """
    tls = tls or Tls()
    file, folder = tls.ca_file, None
    if file is None:
        file, folder = os.environ.get("SSL_CERT_FILE") or None, os.environ.get("SSL_CERT_DIR") or None
        if file is not None and not os.path.isfile(file):
            raise ValueError(f"TLS: there is no file {file}, which SSL_CERT_FILE names; set or unset it")
    if file is None and folder is None:
        file = certifi.where()
    try:
        context = ssl.create_default_context(cafile=file, capath=folder)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"TLS: the certificates cannot be used: {reason_of(error)}") from error
    return context


def deadline_error(url: str, call: Call) -> DeadlineExceeded:
    """The error of a call whose time is over."""
    return DeadlineExceeded(f"no complete answer from {url} within {call.limit}")


def decoding_error(url: str) -> ProtocolError:
    """The error of an answer that cannot be unpacked."""
    return ProtocolError(f"the answer of {url} is not encoded as its headers say")


def connection_error(url: str, error: Exception) -> Unavailable:
    """The error of a call to which nothing, or not everything, came back."""
    return Unavailable(f"no answer from {url}: {reason_of(error)}")


def reason_of(error: Exception) -> str:
    """What an error says, or its name where it says nothing."""
    return str(error) or type(error).__name__


def checked_answer(status: int, content_type: str | None, body: bytes, url: str) -> bytes:
    """The serialized EmbedResponse that an answer is.

    Raises:
        BabelclipError: it is not one; which error, its status and TorchServe's own error body say.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type == PROTOBUF:
        return body  # Whatever the status: the message itself says what was refused.
    raise _refusal(status, body, url)


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
