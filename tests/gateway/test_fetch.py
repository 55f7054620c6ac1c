"""Images by their address: from the hosts that are allowed, and never from inside the gateway's network."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import ItemError
from babelclip.fetching import Hosts, fetcher, public_addresses
from gateway.fetch import ItemFetcher, Limits, image_address
from gateway.settings import Settings, SettingsError
from tests.clients.fetching.web import IMAGE, INSIDE, PUBLIC, Names, Web, web
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import gateway

judged_public = public_addresses.is_public
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusted; to read the usual list takes its time


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets one address of this machine pass for one of the Internet; all others are judged as ever."""
    monkeypatch.setattr(
        public_addresses, "is_public", lambda address: address == PUBLIC or judged_public(address)
    )


def limits(**changed: Any) -> Limits:
    """Limits that no test meets unless it wants to."""
    return Limits(
        **{"seconds": PATIENCE, "image_bytes": 1000, "request_bytes": 10_000, "images": 8, **changed}
    )


def fetched(
    urls: Sequence[str],
    *,
    hosts: Sequence[str] = ("*.example:{port}",),
    names: Names | None = None,
    **changed: Any,
) -> tuple[list[bytes | ItemError], Web]:
    """What becomes of addresses, in which {port} is that of the web; and what the web saw."""

    async def run() -> tuple[list[bytes | ItemError], Web]:
        async with web() as there:
            table = names or Names(photos_example=[[PUBLIC]], inside_example=[[INSIDE]])
            allowed = [host.format(port=there.port) for host in hosts]
            opened = ItemFetcher(Hosts(allowed), limits(**changed), resolver=table, trusted=NOBODY)
            try:
                items = [image_address(url.replace("{port}", str(there.port))) for url in urls]
                return list(await opened.fetched(items)), there  # type: ignore[arg-type]
            finally:
                await opened.close()

    return asyncio.run(run())


@pytest.mark.usefixtures("public")
def test_images_of_allowed_hosts_are_fetched() -> None:
    """The bytes there take the place of the address, which is asked once, by the name of its host."""
    url = "http://photos.example:{port}/cat.png"
    found, there = fetched([url, url, url + "#part"])
    assert found == [IMAGE] * 3
    assert len(there.seen) == 2
    at, head = there.seen[0]
    assert at == PUBLIC
    assert f"Host: photos.example:{there.port}" in head
    assert "authorization" not in head.lower()
    assert "cookie" not in head.lower()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f000001"),
        *("017700000001", "0177.0.0.1", "127.1", "0", "0.0.0.0", "localhost", "①②⑦.⓪.⓪.①", "127.0.0.1."),
    ],
)
def test_nothing_of_this_machine_is_fetched_however_it_is_written(host: str) -> None:
    """With every host allowed and the machine's resolver, no spelling of loopback reaches a server here."""

    async def run() -> tuple[list[Any], Web]:
        async with web() as there:
            opened = ItemFetcher(Hosts(["*", f"*:{there.port}"]), limits(), trusted=NOBODY)
            item = image_address(f"http://{host}:{there.port}/cat.png")
            try:
                return list(await opened.fetched([item])), there
            finally:
                await opened.close()

    (found,), there = asyncio.run(run())
    assert isinstance(found, ItemError)
    assert not there.seen


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://other.test:{port}/cat.png", "invalid_item"),
        ("http://example:{port}/cat.png", "invalid_item"),
        ("http://photos.example.test:{port}/cat.png", "invalid_item"),
        ("http://photos.example/cat.png", "invalid_item"),
        ("http://photos.example:22/cat.png", "invalid_item"),
        ("http://photos.example:99999/cat.png", "invalid_item"),
        ("http://user:password@photos.example:{port}/cat.png", "invalid_item"),
        ("http://photos.example@127.0.0.1:{port}/cat.png", "invalid_item"),
        ("http://photos.example:{port}@127.0.0.1/cat.png", "invalid_item"),
        ("http://127.0.0.1:{port}\\@photos.example/cat.png", "invalid_item"),
        ("http://127.0.0.1:{port}/photos.example", "invalid_item"),
        ("ftp://photos.example:{port}/cat.png", "invalid_item"),
        ("file:///etc/passwd", "invalid_item"),
        ("gopher://photos.example:{port}/cat.png", "invalid_item"),
        ("http:///cat.png", "invalid_item"),
        ("http://[::1/cat.png", "invalid_item"),
        ("http://\ud800.example/", "invalid_item"),
        ("http://inside.example:{port}/cat.png", "image_not_fetched"),
        ("http://unknown.example:{port}/cat.png", "image_not_fetched"),
        ("http://photos.example:{port}/to/http://inside.example:{port}/cat.png", "image_not_fetched"),
        ("http://photos.example:{port}/to/http://127.0.0.2:{port}/cat.png", "invalid_item"),
        ("http://photos.example:{port}/to/http://other.test/cat.png", "invalid_item"),
        ("http://photos.example:{port}/to/file:///etc/passwd", "invalid_item"),
        ("http://photos.example:{port}/to///127.0.0.2/cat.png", "invalid_item"),
        ("http://photos.example:{port}/to/http://[", "invalid_item"),
        ("http://photos.example:{port}/loop", "image_not_fetched"),
        ("http://photos.example:{port}/missing", "image_not_fetched"),
        ("http://photos.example:{port}/junk", "image_not_fetched"),
        ("http://photos.example:{port}/bomb", "image_not_fetched"),
        ("http://photos.example:{port}/large", "image_too_many_bytes"),
        ("http://photos.example:{port}/endless", "image_too_many_bytes"),
    ],
)
def test_what_is_not_fetched_costs_its_item_alone(url: str, code: str) -> None:
    """Other hosts and ports, users, ways into the machine, and broken or endless answers: an error each."""
    found, there = fetched([url, "http://photos.example:{port}/cat.png"])
    refused, good = found
    assert isinstance(refused, ItemError)
    assert (refused.code, good) == (code, IMAGE), refused
    assert not any(at == INSIDE for at, _ in there.seen)
    assert INSIDE not in refused.message
    assert "password" not in refused.message or code == "invalid_item"


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("path", ["slow", "silent"])
def test_slow_answers_are_not_waited_for(path: str) -> None:
    """Bytes that drip, or never come, end when the time of an image is over."""
    (found,), _ = fetched([f"http://photos.example:{{port}}/{path}"], seconds=0.3)
    assert isinstance(found, ItemError)
    assert (found.code, found.message) == ("image_not_fetched", "the image did not come within 0.3 s")


@pytest.mark.usefixtures("public")
def test_a_name_that_changes_its_answer_is_judged_each_time() -> None:
    """An answer that was public gives no leave to the next, and what was judged is what is asked."""
    names = Names(photos_example=[[PUBLIC], [INSIDE]])
    url = "http://photos.example:{port}/to/http://photos.example:{port}/cat.png"
    (found,), there = fetched([url], names=names)
    assert isinstance(found, ItemError)
    assert found.code == "image_not_fetched"
    assert names.asked == ["photos.example", "photos.example"]
    assert [at for at, _ in there.seen] == [PUBLIC]


@pytest.mark.usefixtures("public")
def test_of_several_addresses_only_a_public_one_is_asked() -> None:
    """An inner address beside a public one is passed over."""
    names = Names(photos_example=[[INSIDE, "::1", "::ffff:127.0.0.2", PUBLIC]])
    (found,), there = fetched(["http://photos.example:{port}/cat.png"], names=names)
    assert found == IMAGE
    assert [at for at, _ in there.seen] == [PUBLIC]


@pytest.mark.usefixtures("public")
def test_addresses_in_a_request_are_counted_and_their_bytes_too() -> None:
    """Too many addresses, and too many bytes of them together, are the errors of those above the limit."""
    urls = [f"http://photos.example:{{port}}/cat.png?{number}" for number in range(4)]
    found, there = fetched(urls, images=3)
    assert found[:3] == [IMAGE] * 3
    assert isinstance(found[3], ItemError)
    assert found[3].message == "a request may name 3 addresses of images"
    assert len(there.seen) == 3
    found, _ = fetched(urls, request_bytes=2 * len(IMAGE))
    assert sorted(getattr(item, "code", "fetched") for item in found) == [
        *("fetched", "fetched", "image_too_many_bytes", "image_too_many_bytes")
    ]


def test_https_knows_the_host_by_its_name(public: None) -> None:
    """The certificate is asked for and verified by the name, though the connection is to an address."""
    authority = trustme.CA()
    server, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("photos.example").configure_cert(server)
    authority.configure_trust(trusted)
    asked: list[str] = []
    server.sni_callback = lambda _, name, __: asked.append(name)

    async def run() -> list[Any]:
        there = Web()
        listening = await asyncio.start_server(there.answer, PUBLIC, 0, ssl=server)
        port = listening.sockets[0].getsockname()[1]
        names = Names(photos_example=[[PUBLIC]], other_example=[[PUBLIC]])
        opened = ItemFetcher(Hosts([f"*.example:{port}"]), limits(), resolver=names, trusted=trusted)
        urls = [f"https://{name}.example:{port}/cat.png" for name in ("photos", "other")]
        try:
            return list(await opened.fetched([image_address(url) for url in urls]))
        finally:
            await opened.close()
            listening.close()

    good, other = asyncio.run(run())
    assert good == IMAGE
    assert isinstance(other, ItemError)
    assert other.code == "image_not_fetched"
    assert sorted(asked) == ["other.example", "photos.example"]


@given(st.text() | st.from_regex(r"https?://[^ ]{0,30}", fullmatch=True))
@settings(max_examples=50)
def test_any_address_is_an_error_or_allowed(url: str) -> None:
    """Whatever stands for an address, the others of the request are not lost; here no host is allowed."""

    async def run() -> list[Any]:
        opened = ItemFetcher(Hosts(["photos.example"]), limits(), resolver=Names(), trusted=NOBODY)
        try:
            return list(await opened.fetched(["a text", image_address(url)]))
        finally:
            await opened.close()

    text, refused = asyncio.run(run())
    assert text == "a text"
    assert isinstance(refused, ItemError)


@pytest.mark.parametrize("entry", ["", "https://photos.example", "photos.example/cats", "a*.example", "a:b"])
def test_an_entry_that_is_no_host_stops_the_start(entry: str) -> None:
    """An operator who writes what means nothing learns it at once."""
    with pytest.raises(SettingsError, match="image_url_hosts"):
        Settings(image_url_hosts=(entry,))


@pytest.mark.usefixtures("public")
def test_the_gateway_embeds_what_is_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allowed address is an image in every form of the call, and one that is not is its item's error."""
    monkeypatch.setattr(
        fetcher, "Resolver", lambda: Names(photos_example=[[PUBLIC]], inside_example=[[INSIDE]])
    )

    async def run() -> tuple[httpx.Response, httpx.Response, Web]:
        async with web() as there:
            allowed = (f"*.example:{there.port}",)
            with gateway(engine, tmp_path, image_url_hosts=allowed) as front:
                good = f"http://photos.example:{there.port}/cat.png"
                bad = f"http://inside.example:{there.port}/cat.png"
                body = {"input": ["a", {"image": good}, {"image": bad}], "errors": "return"}
                part = {"type": "image_url", "image_url": {"url": good}}
                messages = {"messages": [{"role": "user", "content": [part]}]}
                return (
                    await asyncio.to_thread(front.post, json=body),
                    await asyncio.to_thread(front.post, json=messages),
                    there,
                )

    engine = Engine()
    mixed, message, there = asyncio.run(run())
    assert mixed.status_code == message.status_code == 200, mixed.text
    expected = [float(value) for value in engine.versions["1.0"].vector(IMAGE)]
    rows = mixed.json()["data"]
    assert rows[1]["embedding"] == pytest.approx(expected, abs=1e-6)
    assert message.json()["data"][0]["embedding"] == pytest.approx(expected, abs=1e-6)
    assert rows[2]["error"]["code"] == "image_not_fetched"
    assert not any(at == INSIDE for at, _ in there.seen)
