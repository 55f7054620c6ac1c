"""Fetch one image from the open web: bounded in bytes, pixels and time, never from inside this network."""

import contextlib
import email.utils
import ipaddress
import math
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from training.datasets.decoding import MAX_BYTES, MAX_PIXELS, BrokenImage, decode

MAX_REDIRECTS = 5
OPTED_OUT = ("noai", "noimageai")  # words of X-Robots-Tag by which a site refuses training
CHECK_PX = 32  # the whole image is decoded whatever the size it is brought to


@dataclass(frozen=True)
class Limits:
    """What a fetch may cost."""

    seconds: float = 20.0  # for the whole fetch; each wait for the server may take half of it
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    allow_private: bool = False  # loopback and private addresses too


class FetchError(Exception):
    """An image was not fetched; `reason` is a few words to count by.

    `again` says whether another try may help, `rest` after how many seconds, where the server says so.
    """

    def __init__(self, reason: str, *, again: bool = False, rest: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.rest = rest


def client(user_agent: str, limits: Limits) -> httpx.Client:
    """A client for `fetch`.

    Connections are not kept: they are made to checked addresses, not to names, and two names of one address
    must not share one, nor cookies. Proxies of the environment are not used, for they would resolve names
    unchecked.
    """
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.Client(
        cookies=no_cookies,
        headers={"User-Agent": user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(limits.seconds / 2),
        limits=httpx.Limits(max_keepalive_connections=0),
        trust_env=False,
    )


def fetch(web: httpx.Client, url: str, limits: Limits) -> bytes:
    """The encoded image at `url`, decoded once to see that it is whole.

    Raises:
        FetchError: it could not be had, or is not an image within the limits.
    """
    deadline = time.monotonic() + limits.seconds
    with answered(web, url, limits, deadline=deadline) as response:
        data = _body(response, limits, deadline)
    return _checked(data, limits)


@contextlib.contextmanager
def answered(
    web: httpx.Client,
    url: str,
    limits: Limits,
    *,
    deadline: float = math.inf,
    headers: Mapping[str, str] | None = None,
) -> Iterator[httpx.Response]:
    """The answer to a GET of `url`, at the end of its redirects; the body is the caller's to read.

    Raises:
        FetchError: there is none; also for what goes wrong while the caller reads.
    """
    try:
        place = httpx.URL(url)
        for _ in range(MAX_REDIRECTS + 1):
            if time.monotonic() > deadline:
                raise FetchError("timeout", again=True)
            with contextlib.closing(_sent(web, place, limits, headers)) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                place = place.join(response.headers["Location"])
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise FetchError("bad address") from error
    except httpx.TimeoutException as error:
        raise FetchError("timeout", again=True) from error
    except httpx.HTTPError as error:
        raise FetchError("connection failed", again=True) from error
    raise FetchError("too many redirects")


def _sent(
    web: httpx.Client, place: httpx.URL, limits: Limits, headers: Mapping[str, str] | None
) -> httpx.Response:
    failed: httpx.ConnectError | None = None
    for address in _addresses(place, limits):
        # The connection goes to the address that was checked; a second look-up might give another.
        request = web.build_request(
            "GET",
            place.copy_with(host=address),
            headers={"Host": place.netloc.decode("ascii"), **(headers or {})},
            extensions={"sni_hostname": place.raw_host.decode("ascii")},
        )
        try:
            return web.send(request, stream=True)
        except httpx.ConnectError as error:
            failed = error
    assert failed is not None
    raise failed


def _addresses(place: httpx.URL, limits: Limits) -> list[str]:
    """The addresses of a URL's host, IPv4 first.

    Raises:
        FetchError: the URL is not of the web, or its host has no address or one inside this network.
    """
    if place.scheme not in ("http", "https") or not place.host:
        raise FetchError("bad address")
    try:
        found = socket.getaddrinfo(place.host, place.port or place.scheme, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise FetchError("unknown host", again=error.errno == socket.EAI_AGAIN) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in sorted(found, key=lambda entry: entry[0])))
    if not limits.allow_private and not all(_is_public(address) for address in addresses):
        raise FetchError("private address")
    return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(parsed, "ipv4_mapped", None) or parsed
    return inner.is_global and not inner.is_multicast


def refusal(response: httpx.Response) -> FetchError:
    """Why an answer is none, by its status."""
    status = response.status_code
    if status in (429, 503):
        return FetchError(f"http {status}", again=True, rest=_seconds(response.headers.get("Retry-After")))
    return FetchError(f"http {status}", again=status >= 500)


def _body(response: httpx.Response, limits: Limits, deadline: float) -> bytes:
    if response.status_code != 200:
        raise refusal(response)
    if any(word in OPTED_OUT for word in _words(response.headers.get("X-Robots-Tag", ""))):
        raise FetchError("site opts out of training")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_bytes:
        raise FetchError("image_too_many_bytes")
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > limits.max_bytes:
            raise FetchError("image_too_many_bytes")
        if time.monotonic() > deadline:
            raise FetchError("timeout", again=True)
    return bytes(body)


def _words(tag: str) -> list[str]:
    return [word.strip().lower() for word in tag.replace(":", ",").split(",")]


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or a date → seconds from now; None where it says neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _checked(data: bytes, limits: Limits) -> bytes:
    try:
        decode(data, size=CHECK_PX, max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
    except BrokenImage as error:
        raise FetchError(error.reason) from error
    return data
