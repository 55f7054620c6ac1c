"""Collections over HTTP: made, filled, searched and deleted, by hand-made vectors whose cosines are known."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from babelclip.keys.file import add
from tests.gateway.collections.album import (
    BROKEN,
    album,
    call,
    encoded,
    engine,
    ids,
    made,
    picture,
    refused,
    told,
)
from tests.gateway.front import Front, gateway
from tests.places import REPOSITORY


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with collections; each test makes its own."""
    with album(tmp_path_factory.mktemp("album"), max_items=50, max_body_bytes=4_000_000) as front:
        made(front, "shared")
        yield front


def test_a_collection_is_made_listed_and_deleted(front: Front) -> None:
    """It says of which model and space it is, counts its items, and is gone with all of them."""
    one = told(call(front, "POST", "", json={"name": "made", "fields": {"year": "integer"}}), 201)
    assert (one["name"], one["model"], one["space"], one["version"], one["dim"]) == (
        *("made", "clip", "in-memory", "1.0"),
        8,
    )
    assert (one["items"], one["failed"], one["fields"], one["state"]) == (0, 0, {"year": "integer"}, "ready")
    assert one == told(call(front, "GET", "/made"))
    listed = told(call(front, "GET", ""))["collections"]
    assert one in listed
    assert {other["name"]: other["items"] for other in listed}["shared"] == 3
    assert "already" in refused(call(front, "POST", "", json={"name": "made"}), 409, "collection_exists")
    assert call(front, "DELETE", "/made").status_code == 204
    refused(call(front, "GET", "/made"), 404, "collection_not_found")
    refused(call(front, "DELETE", "/made"), 404, "collection_not_found")
    assert told(call(front, "POST", "", json={"name": "made"}), 201)["fields"] == {}


@pytest.mark.parametrize("name", ["", "..", ".jobs", "a/b", "a.b", "ä", "-a", "a" * 65, "a\n", 3, None])
def test_a_name_is_no_path(front: Front, name: object) -> None:
    """What could lead out of the folder, or to what is kept beside the collections, names none."""
    assert call(front, "POST", "", json={"name": name}).status_code == 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "x", "fields": {"a": "date"}}, "must be one of text, integer, number, boolean"),
        ({"name": "x", "fields": {"a b": "text"}}, "'a b'"),
        ({"name": "x", "fields": {"source": "text"}}, "'source'"),
        ({"name": "x", "fields": ["a"]}, "must be an object"),
        ({"name": "x", "field": {}}, 'no "field"'),
        ({"name": "x", "fields": {f"a{n}": "text" for n in range(65)}}, "more than 64"),
    ],
)
def test_fields_are_checked(front: Front, body: object, says: str) -> None:
    """A field with a type that there is not, or a name that would clash, makes no collection."""
    assert says in refused(call(front, "POST", "", json=body), 400, "malformed_request")
    refused(call(front, "GET", "/x"), 404, "collection_not_found")


def test_each_item_has_its_own_outcome(front: Front) -> None:
    """What is wrong with one is said of it alone; an image at fault is kept as such and counted."""
    told(call(front, "POST", "", json={"name": "outcomes", "fields": {"year": "integer"}}), 201)
    good = encoded(picture(1))
    items = [
        {"id": "good", "image": good, "metadata": {"year": 1999}},
        {"image": good, "source": "made of its source"},
        {"image": "data:image/png;base64," + good},
        {"id": "no-image", "image": encoded(b"no image at all")},
        {"id": "tower", "image": encoded(BROKEN)},
        {"id": "a/b", "image": good},
        {"id": "year", "image": good, "metadata": {"year": "1999"}},
        {"id": "half", "image": good, "caption": "\ud800"},
        {"id": "base64", "image": "!"},
        {"id": "url", "image": {"url": "http://127.0.0.1/a.png"}},
        {"id": "extra", "image": good, "tag": 1},
        {"id": "none"},
        3,
    ]
    body = json.dumps({"items": items})  # httpx would not send half a character.
    headers = {"content-type": "application/json"}
    outcomes = told(call(front, "POST", "/outcomes/items", content=body, headers=headers))["items"]
    assert [one["status"] for one in outcomes] == ["added"] * 3 + ["failed"] * 10
    assert [one.get("code") for one in outcomes[3:]] == ["image_undecodable"] * 2 + ["invalid_item"] * 8
    assert all(one["message"] for one in outcomes[3:])
    state = told(call(front, "GET", "/outcomes"))
    assert (state["items"], state["failed"]) == (3, 2)
    assert told(call(front, "GET", "/outcomes/items/tower"))["error"]["code"] == "image_undecodable"
    # What was whole stays so when something broken is sent under its id.
    again = {"items": [{"id": "good", "image": encoded(b"broken")}]}
    assert told(call(front, "POST", "/outcomes/items", json=again))["items"][0]["status"] == "failed"
    assert "error" not in told(call(front, "GET", "/outcomes/items/good"))


def test_an_item_tells_what_is_known_of_it(front: Front) -> None:
    """Its size, caption and metadata come back, with the addresses of what can be fetched of it."""
    item = told(call(front, "GET", "/shared/items/beach"))
    assert (item["width"], item["height"], item["kind"], item["caption"]) == (48, 48, "image", "a beach")
    assert (item["metadata"], item["content"]) == ({"album": "sea"}, None)
    assert item["thumbnail"].startswith("/v1/collections/shared/items/beach/thumbnail?v=")
    refused(call(front, "GET", "/shared/items/nothing"), 404, "item_not_found")
    refused(call(front, "GET", "/shared/items/..%2fcity"), 404, "unknown_path")


def test_items_are_listed_page_by_page(front: Front) -> None:
    """In the order of their ids, by a filter and by whether they have a vector; mistakes are explained."""
    made(front, "listed")
    broken = {"items": [{"id": "broken", "image": encoded(BROKEN)}]}
    told(call(front, "POST", "/listed/items", json=broken))
    page = told(call(front, "GET", "/listed/items", params={"limit": 3}))
    assert [item["id"] for item in page["items"]] == ["bathers", "beach", "broken"]
    assert page["next_after"] == "broken"
    assert page["items"][2]["error"]["code"] == "image_undecodable"
    assert page["items"][1] == told(call(front, "GET", "/listed/items/beach"))
    rest = told(call(front, "GET", "/listed/items", params={"after": "broken"}))
    assert ([item["id"] for item in rest["items"]], rest["next_after"]) == (["city"], None)
    for params, expected in (
        ({"failed": "true"}, ["broken"]),
        ({"failed": "false", "filter": '{"album": "sea"}'}, ["bathers", "beach"]),
        ({"after": "zzz"}, []),
    ):
        page = told(call(front, "GET", "/listed/items", params=params))
        assert [item["id"] for item in page["items"]] == expected
    for params in (
        *({"limit": limit} for limit in ("0", "1001", "-1", "a", "9" * 5000, "\u0663")),
        *({"filter": where} for where in ("[", "3", '{"none": 1}', "[" * 5000)),
        *({"after": "\0"}, {"failed": "yes"}, {"offset": "3"}),
    ):
        refused(call(front, "GET", "/listed/items", params=params), 400, "malformed_request")
    refused(call(front, "GET", "/nothing/items"), 404, "collection_not_found")


def test_a_thumbnail_is_kept_by_caches(front: Front) -> None:
    """Its address holds for its bytes alone, so that a browser never asks again; a bare one is asked for."""
    item = told(call(front, "GET", "/shared/items/beach"))
    answer = call(front, "GET", item["thumbnail"])
    assert Image.open(io.BytesIO(answer.content)).size == (48, 48)
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == (
        "image/jpeg",
        "nosniff",
    )
    assert "immutable" in answer.headers["cache-control"]
    bare = call(front, "GET", "/shared/items/beach/thumbnail")
    assert (bare.headers["cache-control"], bare.headers["etag"]) == (
        "private, no-cache",
        answer.headers["etag"],
    )
    again = call(front, "GET", item["thumbnail"], headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_search_finds_what_is_near_and_leaves_out_what_is_subtracted(front: Front) -> None:
    """Text in any language, minus something, an image, and an item's own vector, alone and together."""
    found = told(call(front, "POST", "/shared/search", json={"query": "beach"}))
    assert ids(found) == ["beach", "bathers", "city"]
    assert found["hits"][0]["score"] == pytest.approx(1 / 1.01**0.5, abs=1e-4)
    assert (found["space"], found["version"], found["next_offset"]) == ("in-memory", "1.0", None)
    minus = told(call(front, "POST", "/shared/search", json={"query": "plage -people"}))
    apart, apart_before = (one["hits"][0]["score"] - one["hits"][1]["score"] for one in (minus, found))
    assert apart > 0.39 > apart_before
    terms = [{"text": "city"}, {"image": encoded(picture(1)), "weight": 0.1}]
    assert ids(told(call(front, "POST", "/shared/search", json={"terms": terms})))[0] == "city"
    like = told(call(front, "POST", "/shared/similar", json={"id": "beach"}))
    assert ids(like) == ["bathers", "city"]
    with_id = [{"id": "bathers"}, {"text": "people", "weight": -1}]
    assert ids(told(call(front, "POST", "/shared/search", json={"terms": with_id})))[0] == "beach"


def test_a_filter_and_pages(front: Front) -> None:
    """A filter is of the fields that there are, and pages follow each other by their offset."""
    body = {"query": "beach", "filter": {"album": "land"}}
    assert ids(told(call(front, "POST", "/shared/search", json=body))) == ["city"]
    pages = []
    offset = 0
    while offset is not None:
        page = told(
            call(front, "POST", "/shared/search", json={"query": "beach", "top": 1, "offset": offset})
        )
        pages += ids(page)
        offset = page["next_offset"]
    assert pages == ["beach", "bathers", "city"]
    wrong = call(front, "POST", "/shared/search", json={"query": "beach", "filter": {"year": 2020}})
    assert "'year'" in refused(wrong, 400, "malformed_request")


def test_the_threshold_tells_what_fits(front: Front) -> None:
    """By the calibration; what does not fit is told unless it is to be left out, and a number is a cosine."""
    found = told(call(front, "POST", "/shared/search", json={"query": "beach"}))
    assert found["fits"] is True
    assert 0.5 < found["threshold"] < 0.6
    assert [hit["match"] > 0.5 for hit in found["hits"]] == [True, True, False]
    cut = told(call(front, "POST", "/shared/search", json={"query": "beach", "cut": True}))
    assert ids(cut) == ["beach", "bathers"]
    strict = {"query": "beach", "threshold": 0.999, "cut": True}
    nothing = told(call(front, "POST", "/shared/search", json=strict))
    assert (nothing["fits"], nothing["hits"], nothing["threshold"]) == (False, [], 0.999)
    without = told(call(front, "POST", "/shared/search", json={"query": "beach", "threshold": None}))
    assert (without["threshold"], without["fits"]) == (None, True)


def test_a_burst_takes_one_place(front: Front) -> None:
    """An image that hardly differs is among the duplicates of the better one, unless all are wanted."""
    made(front, "burst")
    item = {"id": "second", "image": encoded(picture(4))}
    told(call(front, "POST", "/burst/items", json={"items": [item]}))
    found = told(call(front, "POST", "/burst/search", json={"query": "beach"}))
    assert (ids(found), found["hits"][0]["duplicates"]) == (["beach", "bathers", "city"], ["second"])
    every = told(call(front, "POST", "/burst/search", json={"query": "beach", "diverse": False}))
    assert ids(every) == ["beach", "second", "bathers", "city"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"query": "a", "terms": []}, 400),
        ({"query": " "}, 400),
        ({"query": "-"}, 200),
        ({"terms": []}, 400),
        ({"terms": [{"text": "a", "id": "b"}]}, 400),
        ({"terms": [{"text": "a", "weight": 0}]}, 400),
        ({"terms": [{"text": "a", "weight": 1e9}]}, 400),
        ({"terms": [{"id": "nothing"}]}, 404),
        ({"terms": [{"image": encoded(b"no image")}]}, 200),
        ({"terms": [{"image": encoded(BROKEN)}]}, 400),
        ({"terms": [{"text": "beach"}, {"text": "beach", "weight": -1}]}, 400),
        ({"terms": [{"text": "a"}] * 33}, 413),
        ({"query": "a", "top": 0}, 400),
        ({"query": "a", "top": 10_000}, 400),
        ({"query": "a", "offset": -1}, 400),
        ({"query": "a", "offset": 10**12}, 400),
        ({"query": "a", "threshold": "high"}, 400),
        ({"query": "a", "threshold": 3}, 400),
        ({"query": "a", "filter": {"$where": "1"}}, 400),
        ({"query": "ab " * 1_000_000}, 400),
        ({"query": "a", "limit": 3}, 400),
        ([], 400),
    ],
)
def test_a_wrong_search_is_explained(front: Front, body: object, status: int) -> None:
    """Whatever a body holds, the answer is a search's or says what is allowed."""
    answer = call(front, "POST", "/shared/search", json=body)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["message"]


def test_items_get_labels(front: Front) -> None:
    """Those of some ids, or of a filter; by the calibration one that fits none has none."""
    labels = {"labels": ["beach", "people"], "ids": ["beach", "city", "nothing"]}
    found = {one["id"]: one for one in told(call(front, "POST", "/shared/classify", json=labels))["items"]}
    assert set(found) == {"beach", "city"}
    assert (found["beach"]["label"], found["city"]["label"]) == ("beach", None)
    every = told(call(front, "POST", "/shared/classify", json={"labels": ["beach", "city"], "filter": {}}))
    assert {one["id"]: one["best"] for one in every["items"]} == {
        "beach": "beach",
        "bathers": "beach",
        "city": "city",
    }
    twice = {"labels": ["beach", "beach"], "filter": {}}
    refused(call(front, "POST", "/shared/classify", json=twice), 400, "malformed_request")
    refused(call(front, "POST", "/shared/classify", json={"labels": ["a"]}), 400, "malformed_request")


def test_items_are_deleted(front: Front) -> None:
    """One, some by their ids, or all that a filter keeps."""
    made(front, "deleted")
    assert call(front, "DELETE", "/deleted/items/city").status_code == 204
    refused(call(front, "DELETE", "/deleted/items/city"), 404, "item_not_found")
    some = {"ids": ["beach", "nothing"]}
    assert told(call(front, "POST", "/deleted/items/delete", json=some)) == {"deleted": 1}
    every = {"filter": {"album": "sea"}}
    assert told(call(front, "POST", "/deleted/items/delete", json=every)) == {"deleted": 1}
    assert told(call(front, "GET", "/deleted"))["items"] == 0
    refused(call(front, "POST", "/deleted/items/delete", json={}), 400, "malformed_request")


def test_a_request_has_bounds(front: Front) -> None:
    """Too many items, or bytes, and none of them is added."""
    many = {"items": [{"image": encoded(picture(1))}] * 51}
    refused(call(front, "POST", "/shared/items", json=many), 413, "too_many_items")
    large = {"items": [{"image": "A" * 5_000_000}]}
    refused(call(front, "POST", "/shared/items", json=large), 413, "body_too_large")
    refused(call(front, "POST", "/shared/items", json={"items": []}), 400, "empty_request")
    refused(call(front, "POST", "/nothing/items", json=many), 404, "collection_not_found")


def test_the_description_has_every_call(front: Front) -> None:
    """The OpenAPI document names the addresses and methods that there are."""
    described = front.get("/openapi.json").json()["paths"]
    for path, methods in described.items():
        if path.startswith(("/v1/collections", "/v1/jobs")):
            address = path.format(collection="none", item="none", job="none")
            for method in methods:
                answer = call(front, method.upper(), address)
                assert answer.status_code in (200, 400, 404), (method, path)
                assert answer.status_code == 200 or answer.json()["error"]["code"] != "unknown_path"


def test_the_example_of_the_documentation_runs(front: Front) -> None:
    """What docs/collections.md shows does what it says."""
    text = (REPOSITORY / "docs/collections.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:8000", front.addresses.http).replace("bck_…", front.key)
    found: dict[str, Any] = {}
    exec(code, found)
    with contextlib.closing(found["gateway"]):
        assert found["added"]["items"] == [{"id": "apple", "status": "added"}]
        assert [hit["id"] for hit in found["found"]["hits"]] == ["apple"]


def test_keys_read_or_write(front: Front) -> None:
    """Who may search changes nothing, and who may fill a collection has no need to see what is in it."""
    keys = {scope: add(front.keys_file, scope, scopes=[scope]) for scope in ("embed", "search", "write")}
    item = {"items": [{"id": "new", "image": encoded(picture(1))}]}
    calls = [
        ("write", "POST", "", {"name": "of-a-key"}),
        ("search", "GET", "/of-a-key", None),
        ("write", "POST", "/of-a-key/items", item),
        ("search", "GET", "/of-a-key/items/new", None),
        ("search", "GET", "/of-a-key/items/new/thumbnail", None),
        ("search", "POST", "/of-a-key/search", {"query": "beach"}),
        ("search", "POST", "/of-a-key/similar", {"id": "new"}),
        ("search", "POST", "/of-a-key/classify", {"labels": ["beach"], "filter": {}}),
        ("write", "POST", "/of-a-key/items/delete", {"ids": ["new"]}),
        ("write", "DELETE", "/of-a-key", None),
    ]
    for needed, method, path, body in calls:
        for scope, key in keys.items():
            if scope != needed:
                answer = call(front, method, path, key, json=body)
                assert needed in refused(answer, 403, "insufficient_scope"), (method, path)
        assert call(front, method, path, keys[needed], json=body).is_success, (method, path)


def test_without_a_folder_each_call_says_so(tmp_path: Path) -> None:
    """Where the operator has not turned collections on, nothing is kept, and a caller learns why."""
    with gateway(engine(), tmp_path) as off:
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/a"), ("POST", "/a/search")):
            assert "keeps no collections" in refused(call(off, method, path), 404, "collections_off")
