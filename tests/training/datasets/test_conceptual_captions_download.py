import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.folders import picture
from training.datasets import conceptual_captions, downloads
from training.datasets.conceptual_captions import image_path
from training.datasets.downloads import Options
from training.datasets.fetching import FetchError, Limits, client, fetch
from training.datasets.hosts import Hosts

OPEN = Limits(seconds=2.0, max_bytes=200_000, max_pixels=200 * 200, allow_private=True)
AGENT = "tests/1.0"


def download(folder: Path, *, limit: int | None = None, **options: Any) -> Counter[str]:
    return conceptual_captions.download(folder, limit=limit, options=Options(**options))


class Site(BaseHTTPRequestHandler):
    """One page for each way in which an image can fail to come."""

    asked: ClassVar[Counter[str]] = Counter()
    agents: ClassVar[set[str]] = set()
    at_once = most_at_once = 0
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        cls = type(self)
        with cls.lock:
            cls.asked[self.path] += 1
            cls.agents.add(self.headers["User-Agent"])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.page(cls.asked[self.path])

    def page(self, time_asked: int) -> None:
        kind = self.path.split("/")[1]
        if kind == "image":
            # Over before the answer is sent: with its last byte the caller may ask for the next.
            cls = type(self)
            with cls.lock:
                cls.at_once += 1
                cls.most_at_once = max(cls.most_at_once, cls.at_once)
            time.sleep(0.02)
            with cls.lock:
                cls.at_once -= 1
            self.answer(200, picture(int(self.path.split("/")[2])))
        elif kind == "gone":
            self.answer(404)
        elif kind == "busy":  # the second time there is room
            self.answer(429, Retry_After="0") if time_asked == 1 else self.answer(200, picture(1))
        elif kind == "always-busy":
            self.answer(429, Retry_After="0")
        elif kind == "closed":
            self.answer(503, Retry_After=formatdate(time.time() + 3600, usegmt=True))
        elif kind == "page":
            self.answer(200, b"<html>not found</html>", Content_Type="image/jpeg")
        elif kind == "heavy":
            self.answer(200, bytes(300_000))
        elif kind == "claims-heavy":
            self.answer(200, b"", Content_Length="999999999999")
        elif kind == "endless":
            self.answer(200, b"", Content_Length="")
            while True:
                self.wfile.write(bytes(50_000))
        elif kind == "wide":
            self.answer(200, picture(1, side=600))
        elif kind == "cut":
            self.answer(200, picture(1)[:800])
        elif kind == "slow":
            self.answer(200, b"", Content_Length="100000")
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.1)
        elif kind == "silent":
            time.sleep(1.5)
        elif kind == "moved":
            self.answer(302, Location="/image/5")
        elif kind == "circle":
            self.answer(302, Location=self.path)
        elif kind == "to-file":
            self.answer(302, Location="file:///etc/passwd")
        elif kind == "opted-out":
            self.answer(200, picture(1), X_Robots_Tag="noindex, noai")


@pytest.fixture
def site() -> Iterator[str]:
    """The address of a running site."""
    Site.asked, Site.agents, Site.most_at_once = Counter(), set(), 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "FIRST_REST", 0.01)


def captions_file(folder: Path, urls: list[str]) -> None:
    (folder / "googlecc.tsv").write_text("".join(f"caption {n}\t{url}\n" for n, url in enumerate(urls)))


def the_map(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "processed_map.json").read_text())
    return found


@pytest.mark.parametrize(
    ("page", "reason", "again"),
    [
        ("gone", "http 404", False),
        ("always-busy", "http 429", True),
        ("page", "image_undecodable", False),
        ("heavy", "image_too_many_bytes", False),
        ("claims-heavy", "image_too_many_bytes", False),
        ("endless", "image_too_many_bytes", False),
        ("wide", "image_too_large", False),
        ("cut", "image_truncated", False),
        ("slow", "timeout", True),
        ("silent", "timeout", True),
        ("circle", "too many redirects", False),
        ("to-file", "bad address", False),
        ("opted-out", "site opts out of training", False),
    ],
)
def test_what_is_no_image_has_its_reason(site: str, page: str, reason: str, again: bool) -> None:
    """Protects the data set from what servers send instead of images, and the time and memory it costs."""
    seconds = 0.8 if reason == "timeout" else 20.0
    limits = Limits(seconds=seconds, max_bytes=200_000, max_pixels=200 * 200, allow_private=True)
    started = time.monotonic()
    with client(AGENT, limits) as web, pytest.raises(FetchError) as error:
        fetch(web, f"{site}/{page}", limits)
    assert (error.value.reason, error.value.again) == (reason, again)
    assert time.monotonic() - started < max(5.0, seconds)


def test_a_redirect_leads_to_the_image(site: str) -> None:
    """Protects images that have moved."""
    with client(AGENT, OPEN) as web:
        assert fetch(web, f"{site}/moved", OPEN) == picture(5)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/image/1",
        "http://localhost:{port}/image/1",
        "http://2130706433:{port}/image/1",
        "http://[::ffff:127.0.0.1]:{port}/image/1",
        "http://[::1]:{port}/image/1",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://0.0.0.0:{port}/image/1",
    ],
)
def test_nothing_is_asked_of_this_network(site: str, url: str) -> None:
    """Protects services of the own network from addresses in a public file."""
    limits = Limits(seconds=2.0)
    with client(AGENT, limits) as web, pytest.raises(FetchError, match=r"private address|unknown host"):
        fetch(web, url.format(port=site.rpartition(":")[2]), limits)
    assert not Site.asked


def test_a_redirect_into_this_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from sites that are public themselves and lead inside."""
    found = {"public.example": "93.184.215.14", "inside.example": "192.168.1.1"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *_, **__: [(socket.AF_INET, 1, 6, "", (found[host], 80))]
    )
    asked = []

    def site(request: httpx.Request) -> httpx.Response:
        asked.append((str(request.url), request.headers["Host"], request.extensions["sni_hostname"]))
        return httpx.Response(302, headers={"Location": "http://inside.example/admin"})

    with (
        httpx.Client(transport=httpx.MockTransport(site)) as web,
        pytest.raises(FetchError, match="private address"),
    ):
        fetch(web, "https://public.example/a.jpg", Limits())
    assert asked == [("https://93.184.215.14/a.jpg", "public.example", "public.example")]


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    """One client for many addresses."""
    with client(AGENT, Limits()) as made:
        yield made


@given(url=st.text(max_size=40) | st.builds("http://{}".format, st.text(max_size=30)))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_address_is_fetched_or_refused(
    web: httpx.Client, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Protects a long run from one address that no parser foresaw."""
    real = socket.getaddrinfo

    def numbers_only(host: str, port: int | None, **options: int) -> object:
        return real(host, port, flags=socket.AI_NUMERICHOST, **options)

    def away(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", numbers_only)
        patch.setattr(web, "_transport", httpx.MockTransport(away))
        with pytest.raises(FetchError):
            fetch(web, url, Limits())


def test_a_download_fetches_reports_and_goes_on(site: str, tmp_path: Path) -> None:
    """Protects a download's result: whole files, a reason for every other address, nothing asked twice."""
    urls = [f"{site}/{page}" for page in ("image/1", "gone", "busy", "always-busy", "page", "image/2")]
    captions_file(tmp_path, [*urls, urls[0]])
    outcome = download(tmp_path, workers=4, limits=OPEN, user_agent=AGENT)
    assert outcome == {"success": 3, "http 404": 1, "http 429": 1, "image_undecodable": 1}
    assert the_map(tmp_path)[urls[1]] == "http 404"
    assert image_path(tmp_path, urls[5]).read_bytes() == picture(2)
    assert Site.asked["/image/1"] == 1
    assert Site.asked["/busy"] == 2
    assert Site.asked["/always-busy"] == 3
    assert Site.agents == {AGENT}
    assert len(list((tmp_path / "images").iterdir())) == 3

    asked = Site.asked.total()
    assert download(tmp_path, limits=OPEN) == outcome
    assert Site.asked.total() == asked
    (tmp_path / "processed_map.json").unlink()  # as if killed before it was saved
    assert download(tmp_path, limits=OPEN, limit=1) == {"success": 1}
    assert Site.asked.total() == asked
    assert download(tmp_path, limits=OPEN, retry=True) == outcome
    assert Site.asked["/image/2"] == 1
    assert Site.asked["/gone"] == 2

    examples = conceptual_captions.read(tmp_path)
    assert [e.captions for e in examples] == [("caption 0", "caption 6"), ("caption 2",), ("caption 5",)]


def test_a_host_is_asked_by_few_at_a_time(site: str, tmp_path: Path) -> None:
    """Protects hosts from all workers at once."""
    captions_file(tmp_path, [f"{site}/image/{n}" for n in range(20)])
    assert download(tmp_path, workers=8, per_host=2, limits=OPEN) == {"success": 20}
    assert 1 <= Site.most_at_once <= 2


def test_a_host_that_wants_a_long_rest_gets_it(site: str, tmp_path: Path) -> None:
    """Protects hosts that send everyone away for an hour; the next run tries again."""
    captions_file(tmp_path, [f"{site}/closed/{n}" for n in range(9)])
    outcome = download(tmp_path, workers=2, per_host=1, limits=OPEN)
    assert outcome == {downloads.RESTING: 9}
    assert Site.asked.total() == 1
    assert the_map(tmp_path) == {}


def test_a_stopped_download_keeps_what_it_has(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects hours of download from an interruption, and the data set from half a file."""
    captions_file(tmp_path, [f"{site}/image/{n}" for n in range(6)])
    monkeypatch.setattr(downloads, "SAVE_SECONDS", 0.0)
    real = os.replace
    count: Counter[str] = Counter()

    def stops(source: Path, target: Path) -> None:
        count["images"] += target.suffix == ".jpg"
        if count["images"] == 4 and target.suffix == ".jpg":
            raise OSError("no space left")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stops)
        with pytest.raises(OSError, match="no space left"):
            download(tmp_path, workers=1, limits=OPEN)
    assert list(the_map(tmp_path).values()) == ["success"] * 3
    assert download(tmp_path, limits=OPEN) == {"success": 6}
    assert Site.asked.total() == 7


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects people from a traceback when the folder is not the one they meant."""
    monkeypatch.setattr("sys.argv", ["conceptual_captions", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        conceptual_captions.main()
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'googlecc.tsv'} cannot be read: No such file")


def test_hosts_take_turns() -> None:
    """Protects small hosts from waiting behind a large one, and a resting host from being asked."""
    urls = ["http://a/1", "http://a/2", "http://a/3", "http://b/1", "broken://[", "http://c/1"]
    hosts = Hosts(urls, at_once=1)
    turns = [hosts.next() for _ in range(5)]
    assert turns == ["http://a/1", "http://b/1", "broken://[", "http://c/1", None]
    hosts.done("http://a/1")
    hosts.again("http://a/1", 0.05)
    assert hosts.next() is None
    rest = hosts.rest()
    assert rest is not None
    assert 0 < rest <= 0.05
    time.sleep(0.06)
    assert hosts.next() == "http://a/2"
    hosts.done("http://a/2")
    assert hosts.next() == "http://a/3"
    hosts.done("http://a/3")
    assert [hosts.next(), hosts.next(), hosts.rest()] == ["http://a/1", None, None]


def test_a_resting_host_is_not_woken_by_its_own_answers() -> None:
    """Protects a host's rest from the fetches that were under way when it asked for it."""
    hosts = Hosts(["http://a/1", "http://a/2", "http://a/3"], at_once=2)
    assert [hosts.next(), hosts.next(), hosts.next()] == ["http://a/1", "http://a/2", None]
    hosts.done("http://a/1")
    hosts.again("http://a/1", 60)
    hosts.done("http://a/2")
    assert hosts.next() is None
