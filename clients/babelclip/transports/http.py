"""HTTP: a POST of the wire format to TorchServe's /predictions, over httpx."""

from __future__ import annotations

import ssl
import time
import urllib.parse

import httpx

from babelclip.transports import http_wire
from babelclip.transports.base import Call, Tls
from babelclip.transports.proxies import kind_of, proxy_for

# Threads may have more calls at a time than httpx's own limit of 100 connections; who waits for one runs into
# its timeout.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)


class HttpTransport:
    """Keeps connections open between calls; `url` may have a path, under which a proxy serves TorchServe.

    Raises:
        ValueError: httpx cannot read the URL, the environment names a proxy that cannot be used, or there is
            something wrong with the certificates of `tls`.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is no address: {error}") from error
        self._url = url.rstrip("/")
        self._client = _client(url, tls)

    def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`."""
        deadline = time.monotonic() + call.timeout
        address, headers = http_wire.address_of(self._url, call), http_wire.headers_of(call)
        received = bytearray()
        try:
            with self._client.stream(
                "POST", address, content=call.body, headers=headers, timeout=call.timeout
            ) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    # httpx limits each wait, not their sum; without this a trickle would never end.
                    if time.monotonic() > deadline:
                        raise http_wire.deadline_error(self._url, call)
        except httpx.TimeoutException as error:
            raise http_wire.deadline_error(self._url, call) from error
        except httpx.DecodingError as error:
            raise http_wire.decoding_error(self._url) from error
        except httpx.TransportError as error:
            raise http_wire.connection_error(self._url, error) from error
        content_type = response.headers.get("content-type")
        return http_wire.checked_answer(response.status_code, content_type, bytes(received), self._url)

    def close(self) -> None:
        """Closes every connection."""
        self._client.close()


def _client(url: str, tls: Tls | None) -> httpx.Client:
    address = urllib.parse.urlsplit(url)
    proxy = proxy_for(address.scheme, address.hostname or "")
    # Without TLS nobody is trusted: what names certificates may be wrong, and reading them takes time.
    secure = address.scheme == "https"
    verify = http_wire.ssl_context(tls) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Nothing of the environment but what is asked for here: httpx fails over some values of NO_PROXY.
        return httpx.Client(limits=_LIMITS, verify=verify, proxy=proxy, trust_env=False)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        if proxy is None:
            raise
        # Not httpx's words, which may hold the proxy's password.
        hint = ", or install 'httpx[socks]'" if isinstance(error, ImportError) else ""
        raise ValueError(
            f"the environment names a proxy of the kind {kind_of(proxy)!r} that cannot be used. Put the"
            f" server into NO_PROXY if it is reached without one{hint}"
        ) from None
