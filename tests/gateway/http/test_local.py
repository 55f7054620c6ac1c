"""A gateway without keys, on loopback: programs of the machine may call, and pages of other sites may not."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.gateway.collections.album import album, made, picture
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

CALL = {"input": "from a browser"}
ALLOWED = "https://shop.example"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Without keys; one name of a proxy's, and one origin, are allowed."""
    folder = tmp_path_factory.mktemp("front")
    settings = {"authentication": False, "allowed_hosts": ("api.example",), "cors_origins": (ALLOWED,)}
    with gateway(Engine(), folder, **settings) as front:
        yield front


def post(front: Front, **headers: str) -> httpx.Response:
    """One call with these headers."""
    return httpx.post(f"{front.addresses.http}/v1/embeddings", json=CALL, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.5:1",
        "[::1]:8000",
        "api.example:443",
        "API.example",
    ],
)
def test_this_machine_is_called_by_its_names(front: Front, host: str) -> None:
    """And by those that the operator allows, whatever the port: a tunnel has another."""
    assert post(front, host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "api.example.evil",
        ),
        *(
            "0x7f000001",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "localhost@evil.example",
            "[::1",
            "",
            "a b",
        ),
    ],
)
def test_a_name_that_was_made_to_lead_here_is_none(front: Front, host: str) -> None:
    """A page whose own name means 127.0.0.1 meanwhile reads nothing, from no address."""
    front.engine.calls.clear()
    for path in ("/v1/embeddings", "/v1/models", "/ui/", "/healthz"):
        answer = httpx.get(f"{front.addresses.http}{path}", headers={"host": host})
        assert answer.status_code == 421
        assert answer.json()["error"]["code"] == "host_not_allowed"
    assert post(front, host=host).status_code == 421
    assert not [call for call in front.engine.calls if b"from a browser" in call.body]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "file://", ALLOWED + ".evil"]
)
def test_a_page_of_another_origin_is_refused(front: Front, origin: str) -> None:
    """Also where it reads nothing: a form can be sent without asking."""
    answer = post(front, origin=origin)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_our_own_page_and_an_allowed_one_may_call(front: Front) -> None:
    """The page of the gateway itself, by whichever name it was opened, and an origin that is allowed."""
    netloc = urlsplit(front.addresses.http).netloc
    assert post(front, origin=f"http://{netloc}").status_code == 200
    assert post(front, host="localhost:9", origin="http://localhost:9").status_code == 200
    assert post(front, host="api.example", origin="https://api.example").status_code == 200
    answer = post(front, origin=ALLOWED)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ALLOWED)
    preflight = {"origin": ALLOWED, "access-control-request-method": "POST"}
    assert httpx.options(f"{front.addresses.http}/v1/embeddings", headers=preflight).status_code == 200


def test_a_form_of_another_site_adds_nothing(tmp_path: Path) -> None:
    """A browser sends a form with a file across origins without a question before; it is refused here."""
    with album(tmp_path, authentication=False) as front:
        made(front, "shared")
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            files = [("file", ("a.png", picture(9), "image/png"))]
            address = f"{front.addresses.http}/v1/collections/shared/items"
            assert httpx.post(address, files=files, headers=headers).status_code in (403, 421)
        assert httpx.get(f"{front.addresses.http}/v1/collections/shared").json()["items"] == 3


def test_with_keys_every_name_will_do(tmp_path: Path) -> None:
    """A page has no key, so who asks for keys may be called by any name, as behind a proxy."""
    with gateway(Engine(), tmp_path) as front:
        assert front.post(json=CALL, headers={"host": "embed.example"}).status_code == 200
