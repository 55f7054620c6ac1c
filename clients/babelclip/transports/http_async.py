"""HTTP for an event loop: the calls of `babelclip.transports.http`, over aiohttp.

aiohttp parses answers in C: a call costs its caller a quarter of the processor time that it costs over httpx.
"""

from __future__ import annotations

import asyncio
import io

import aiohttp
import yarl

from babelclip.transports import http_wire
from babelclip.transports.base import Call, Tls, other_loop
from babelclip.transports.proxies import kind_of, proxy_for


class AsyncHttpTransport:
    """`HttpTransport` for an event loop; used within one alone.

    Raises:
        ValueError: the URL cannot be read, the environment names a proxy that is no HTTP proxy, or there is
            something wrong with the certificates of `tls`.
    """

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        try:
            address = yarl.URL(url)
        except ValueError as error:
            raise ValueError(f"{url!r} is no address: {error}") from error
        self._url = str(address).rstrip("/")
        self._ssl = http_wire.ssl_context(tls) if address.scheme == "https" else True
        self._proxy = _proxy_for(address)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`."""
        address = yarl.URL(http_wire.address_of(self._url, call), encoded=True)
        try:
            async with self._opened().post(
                address,
                data=io.BytesIO(call.body),  # not the bytes: of a large body aiohttp warns then
                headers=http_wire.headers_of(call),
                timeout=aiohttp.ClientTimeout(total=call.timeout),
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except TimeoutError as error:
            raise http_wire.deadline_error(self._url, call) from error
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError):
                raise http_wire.decoding_error(self._url) from error
            raise http_wire.connection_error(self._url, error) from error
        return http_wire.checked_answer(
            response.status, response.headers.get("content-type"), body, self._url
        )

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None and self._loop is asyncio.get_running_loop():
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # Made with the first call: before, there need not be an event loop.
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl), cookie_jar=aiohttp.DummyCookieJar()
            )
        if self._loop is not loop:
            raise other_loop()
        return self._session


def _proxy_for(address: yarl.URL) -> str | None:
    proxy = proxy_for(address.scheme, address.host or "")
    if proxy is not None and kind_of(proxy) not in ("http", "https"):
        raise ValueError(
            f"the environment names a proxy of the kind {kind_of(proxy)}; only HTTP proxies can be used. Put"
            " the server into NO_PROXY if it is reached without one"
        )
    return proxy
