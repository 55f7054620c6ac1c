"""What load tests send and take for right, and the rates of their profiles; without a server."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.load.traffic import INVISIBLE, Profile, Request, SettingError, Traffic, settings
from gateway.rpc.embedder_pb2 import EmbedItemsResponse

BAD = {1: "empty_item"}
REQUEST = Request(("a", INVISIBLE, b"jpeg"), BAD, "")
VECTOR = base64.b64encode(np.ones(2, "<f4").tobytes()).decode()


def answer(*rows: Any) -> dict[str, Any]:
    """OpenAI's answer: a vector for True, else an error with that code."""
    return {
        "data": [
            {"embedding": VECTOR} if row is True else {"embedding": None, "error": {"code": row}}
            for row in rows
        ]
    }


@pytest.mark.parametrize(
    ("rows", "right"),
    [
        ((True, "empty_item", True), True),
        ((True, True, True), False),
        ((True, "internal", True), False),
        (("empty_item", True, True), False),
        ((True, "empty_item"), False),
        ((True, "empty_item", "internal"), False),
    ],
)
def test_the_right_items_must_fail(rows: tuple[Any, ...], right: bool) -> None:
    """Over both transports an answer is right only if each bad item has its error and no other has one."""
    assert (REQUEST.wrong_json(200, answer(*rows)) == "") is right
    message = EmbedItemsResponse(dim=2)
    for place, row in enumerate(rows):
        message.vectors += np.full(2, row is True, "<f4").tobytes()
        if row is not True:
            message.errors.add(index=place, code=row)
    assert (REQUEST.wrong_message(message) == "") is right


@pytest.mark.parametrize("found", [None, [], {}, {"data": None}, {"data": [1, 2, 3]}])
def test_an_answer_of_another_form_is_wrong(found: Any) -> None:
    """A proxy's page with status 200 is no success."""
    assert REQUEST.wrong_json(200, found)


def test_a_refusal_is_named_by_its_code() -> None:
    """Refusals are counted apart in the report."""
    assert REQUEST.wrong_json(429, {"error": {"code": "overloaded"}}) == "HTTP 429 overloaded"
    assert REQUEST.wrong_json(502, None) == "HTTP 502"


def test_requests_have_the_shares_that_were_asked_for() -> None:
    """A tenth bad and a fifth images are that, and the same seed sends the same."""
    given = settings(
        {"LOAD_ITEMS": "4", "LOAD_BAD_SHARE": "0.1", "LOAD_IMAGES_SHARE": "0.2", "LOAD_MODEL": "m"}
    )
    requests = [request for traffic in [Traffic(given)] for request in (traffic.next() for _ in range(1000))]
    items = [item for request in requests for item in request.items]
    assert 0.17 < sum(isinstance(item, bytes) for item in items) / len(items) < 0.23
    assert 0.08 < sum(len(request.bad) for request in requests) / len(items) < 0.12
    assert {code for request in requests for code in request.bad.values()} == {
        "empty_item",
        "image_undecodable",
        "image_truncated",
    }
    assert Traffic(given).next() == requests[0]
    assert requests[0].json()["model"] == requests[0].message().model == "m"


def test_a_profile_is_drawn_through_its_points() -> None:
    """Between two points it is a line, at a jump the later one counts, and it ends."""
    spike = settings({"LOAD_PROFILE": "spike", "LOAD_SECONDS": "10"}).profile
    assert [spike.share(at) for at in (0, 3.9, 4, 5.9, 6, 9.9, 10)] == [0.2, 0.2, 1, 1, 0.2, 0.2, None]
    assert Profile(10, ((0, 0), (1, 1))).share(2.5) == pytest.approx(0.25)
    soak = settings({"LOAD_PROFILE": "soak"})
    assert (soak.profile.seconds, soak.bad) == (3600, 0.1)


def test_keys_and_address_come_from_the_environment() -> None:
    """Several keys are taken apart, the client's own variable will do, and the scheme says the transport."""
    assert settings({"LOAD_KEYS": "a, b,", "BABELCLIP_TOKEN": "c"}).keys == ("a", "b")
    assert settings({"BABELCLIP_TOKEN": "c"}).keys == ("c",)
    assert settings({"BABELCLIP_URL": "grpcs://example.org"}).grpc
    assert not settings({}).grpc


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BABELCLIP_URL", "localhost:8000"),
        ("LOAD_PROFILE", "wave"),
        ("LOAD_RATE", "0"),
        ("LOAD_SECONDS", "nan"),
        ("LOAD_IMAGES_SHARE", "1.5"),
        ("LOAD_BAD_SHARE", "-1"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    """The message has the variable and what was in it."""
    with pytest.raises(SettingError, match=name):
        settings({name: value})


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    """Images cannot be sent from nowhere; texts alone can."""
    with pytest.raises(SettingError, match="holds no"):
        Traffic(settings({"LOAD_PHOTOGRAPHS": str(tmp_path)}))
    assert (
        Traffic(settings({"LOAD_PHOTOGRAPHS": str(tmp_path), "LOAD_IMAGES_SHARE": "0"})).next().kind
        == "texts"
    )
