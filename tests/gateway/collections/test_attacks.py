"""Attacks on collections: what is sent to spoil them costs its sender a refusal, and nobody else a search."""

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from babelclip.fetching import public_addresses
from gateway.rpc import collections_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import album, call, encoded, made, picture, refused, told
from tests.gateway.front import Front

GOOD = encoded(picture(1))
JSON = {"content-type": "application/json"}
MOST_ANSWER = 20_000  # bytes of a refusal: it repeats little of what was sent


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection that no attack may spoil."""
    with album(tmp_path_factory.mktemp("album"), max_items=100, max_body_bytes=4_000_000) as front:
        made(front, "shared")
        yield front


def nested(depth: int, end: str = "1") -> str:
    """An object in an object in an object, as JSON; `depth` of them."""
    return '{"a":' * depth + end + "}" * depth


def grpc_call(front: Front, name: str, request: Any) -> bytes:
    """One call of the collections over gRPC."""
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        sent: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/babelclip.v1.Collections/{name}"
        )
        metadata = (("authorization", f"Bearer {front.key}"),)
        return bytes(sent(request.SerializeToString(), metadata=metadata, timeout=PATIENCE))


@pytest.mark.parametrize(
    "metadata",
    [
        *(nested(depth) for depth in (17, 250, 300, 900, 1020)),
        '{"a": ' + "[" * 300 + "]" * 300 + "}",
        '{"a": 1' + "0" * 400 + "}",
        '{"a": 1e999}',
        '{"a": [{"b": -1e999}]}',
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"a": "' + "x" * 70_000 + '"}',
    ],
    ids=lambda metadata: f"{metadata[:24]} {len(metadata)}",
)
def test_no_metadata_makes_searches_fail(front: Front, metadata: str) -> None:
    """What one way in could read and another not write again is refused for its item; searches go on."""
    body = f'{{"items": [{{"id": "poison", "image": "{GOOD}", "metadata": {metadata}}}]}}'
    answer = call(front, "POST", "/shared/items", content=body, headers=JSON)
    assert len(answer.content) < MOST_ANSWER
    if answer.status_code == 200:  # Else the body as a whole was none.
        (outcome,) = told(answer)["items"]
        assert (outcome["status"], outcome["code"]) == ("failed", "invalid_item")
    else:
        refused(answer, 400, "malformed_request")
    refused(call(front, "GET", "/shared/items/poison"), 404, "item_not_found")
    assert len(told(call(front, "POST", "/shared/search", json={"query": "beach"}))["hits"]) == 3


def test_metadata_as_deep_as_is_allowed_comes_back_by_every_way(front: Front) -> None:
    """At its bounds it is kept, and told over HTTP and gRPC."""
    made(front, "deep")
    item = {"id": "deep", "image": encoded(picture(2)), "metadata": json.loads(nested(15, "[1, 1e308]"))}
    assert told(call(front, "POST", "/deep/items", json={"items": [item]}))["items"][0]["status"] == "added"
    assert told(call(front, "GET", "/deep/items/deep"))["metadata"] == item["metadata"]
    search = {"query": "beach", "diverse": False}
    hits = told(call(front, "POST", "/deep/search", json=search))["hits"]
    assert item["metadata"] in [hit["metadata"] for hit in hits]
    request = pb.SearchRequest(collection="deep", query="beach", options=pb.SearchOptions(every=True))
    found = pb.SearchResponse.FromString(grpc_call(front, "Search", request))
    assert "deep" in [hit.id for hit in found.hits]


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), 1e300])
def test_numbers_that_only_protobuf_has_are_the_items_own_fault(front: Front, number: float) -> None:
    """Over gRPC a number may be none, or stand for an integer of 300 digits: neither spoils a search."""
    name = f"numbers-{number}".replace("+", "")
    made(front, name)
    metadata = Struct(fields={"a": Value(number_value=number)})
    items = [
        pb.NewItem(id="odd", image=picture(6), metadata=metadata),
        pb.NewItem(id="even", image=picture(7)),
    ]
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        add = channel.stream_stream(
            "/babelclip.v1.Collections/AddItems",
            request_serializer=pb.AddItemsRequest.SerializeToString,
            response_deserializer=pb.AddItemsResponse.FromString,
        )
        sent = iter([pb.AddItemsRequest(collection=name, items=items)])
        (answer,) = add(sent, metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE)
    assert [one.code for one in answer.outcomes] == ["" if number == 1e300 else "invalid_item", ""]
    hits = told(call(front, "POST", f"/{name}/search", json={"query": "beach"}))["hits"]
    assert len(hits) == (5 if number == 1e300 else 4)
    where = Struct(fields={"width": Value(number_value=number)})
    request = pb.SearchRequest(collection=name, query="beach", options=pb.SearchOptions(filter=where))
    with pytest.raises(grpc.RpcError) as caught:
        grpc_call(front, "Search", request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "known", ["\\u0000", "beach\\u0000", "\\ud800", "\\udc00beach", "x" * 9000, "'; --", ""]
)
def test_no_id_breaks_the_index(front: Front, known: str) -> None:
    """An id that no item can have is that of no item, wherever one is taken."""
    similar = call(front, "POST", "/shared/similar", content=f'{{"id": "{known}"}}', headers=JSON)
    refused(similar, 404, "item_not_found")
    terms = f'{{"terms": [{{"id": "{known}"}}]}}'
    refused(call(front, "POST", "/shared/search", content=terms, headers=JSON), 404, "item_not_found")
    for path, body in (("items/delete", "{}"), ("classify", '{"labels": ["beach"]}')):
        sent = f'{{"ids": ["{known}"]{", " + body[1:] if len(body) > 2 else body[1:]}'
        answer = call(front, "POST", f"/shared/{path}", content=sent, headers=JSON)
        assert answer.status_code in (200, 400), answer.text
        assert len(answer.content) < MOST_ANSWER
    assert told(call(front, "GET", "/shared"))["items"] == 3


@pytest.mark.parametrize(
    "path",
    ["%00", "beach%00", "%ff%fe", "%ed%a0%80", "%2e%2e", "..%2f..%2fcollection.json", "a" * 9000],
)
def test_no_address_of_an_item_leads_elsewhere(front: Front, path: str) -> None:
    """What stands for an id or a name in an address is looked up as such, and is never a path."""
    for address in (f"/shared/items/{path}", f"/shared/items/{path}/content", f"/{path}", f"/{path}/items"):
        for method in ("GET", "DELETE"):
            answer = call(front, method, address)
            assert answer.status_code in (404, 405), (method, address, answer.text)
            assert len(answer.content) < MOST_ANSWER
    assert call(front, "GET", f"/v1/jobs/{path}").status_code in (404, 405)
    assert told(call(front, "GET", "/shared"))["items"] == 3


def deep_filter(depth: int) -> Any:
    """A filter in filters."""
    where: Any = {"album": "sea"}
    for _ in range(depth):
        where = {"$and": [where]}
    return where


@pytest.mark.parametrize(
    "where",
    [
        *(deep_filter(depth) for depth in (17, 400)),
        {"$or": [{"album": f"{number}"} for number in range(1001)]},
        {"album": {"$in": ["a"] * 10_001}},
        {"x" * 500_000: 1},
        {"\x00" * 100_000: 1},
        {"album": {"$" + "x" * 500_000: 1}},
        {"$and": [{"y" * 200_000: 1}]},
        {"album": "x" * 10_001},
        {"album": "\0"},
        {"album": {"$gt": {"$gt": 1}}},
        {"album": {"$in": [["a"]]}},
        {"$where": "sleep(1000)"},
        {"album' OR 1=1 --": "a"},
        {"width": 10**400},
        {"__proto__": {"$eq": 1}},
    ],
    ids=lambda where: f"{json.dumps(where)[:30]}",
)
def test_no_filter_is_too_much(front: Front, where: Any) -> None:
    """However deep, long or odd it is, the answer is short and says what is allowed."""
    for path, more in (("search", {"query": "beach"}), ("classify", {"labels": ["a"]}), ("items/delete", {})):
        answer = call(front, "POST", f"/shared/{path}", json={**more, "filter": where})
        assert len(answer.content) < MOST_ANSWER
        if len(json.dumps(where)) < 900_000:
            refused(answer, 400, "malformed_request")
    assert told(call(front, "GET", "/shared"))["items"] == 3


def test_text_in_a_filter_is_only_ever_a_text(front: Front) -> None:
    """Quotes and signs of a query language, and of patterns, are compared as they are."""
    for text in ("sea' OR '1'='1", "s%", "s_a", "\\", "'; DROP TABLE x; --", '"', "sea\n"):
        for comparison in ("$eq", "$prefix", "$contains", "$in"):
            value: Any = [text] if comparison == "$in" else text
            body = {"query": "beach", "filter": {"album": {comparison: value}}}
            assert told(call(front, "POST", "/shared/search", json=body))["hits"] == [], (comparison, text)


@contextmanager
def inside() -> Iterator[tuple[int, list[str]]]:
    """A server of this machine that no caller may reach through the gateway: its port, and what was asked."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            body = picture(1)
            self.send_response(302 if self.path.startswith("/to/") else 200)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_no_address_of_an_image_leads_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of items and of terms: allowed hosts are asked at public addresses alone, redirects too."""
    with inside() as (port, seen), inside() as (other, reached):
        allowed = (f"127.0.0.1:{port}", f"localhost:{port}")
        with album(tmp_path, image_url_hosts=allowed) as front:
            made(front, "shared")
            urls = [
                f"http://127.0.0.1:{port}/a.png",
                f"http://localhost:{port}/a.png",
                f"http://[::ffff:127.0.0.1]:{port}/a.png",
                f"http://2130706433:{port}/a.png",
                f"http://127.0.0.1:{other}/a.png",
                f"http://127.0.0.1:{port}@127.0.0.1:{other}/",
                "http://169.254.169.254/latest/meta-data/",
                "file:///etc/passwd",
            ]
            items = [{"id": f"i{n}", "image": {"url": url}} for n, url in enumerate(urls)]
            outcomes = told(call(front, "POST", "/shared/items", json={"items": items}))["items"]
            lines = b"".join(json.dumps(item).encode() + b"\n" for item in items)
            headers = {"content-type": "application/x-ndjson"}
            answer = call(front, "POST", "/shared/items", content=lines, headers=headers)
            outcomes += [json.loads(line) for line in answer.text.splitlines()]
            assert {one["status"] for one in outcomes} == {"failed"}
            assert {one["code"] for one in outcomes} == {"invalid_item", "image_not_fetched"}
            for url in urls:
                terms = {"terms": [{"image": {"url": url}}]}
                answer = call(front, "POST", "/shared/search", json=terms)
                assert answer.status_code in (400, 502), answer.text
                assert "127.0.0.1" not in answer.text or "127.0.0.1" in url
            assert seen == reached == []
            # Where the first host is public, what it leads on to is judged as if it had been given.
            judged = public_addresses.is_public
            monkeypatch.setattr(public_addresses, "is_public", lambda at: at == "127.0.0.1" or judged(at))
            redirects = [
                f"http://127.0.0.1:{port}/to/http://127.0.0.1:{other}/a.png",
                f"http://127.0.0.1:{port}/a.png",
            ]
            items = [{"id": f"r{n}", "image": {"url": url}} for n, url in enumerate(redirects)]
            outcomes = told(call(front, "POST", "/shared/items", json={"items": items}))["items"]
            assert [one["status"] for one in outcomes] == ["failed", "added"]
            assert (len(seen), reached) == (2, [])


def test_an_index_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """Where one collection is broken, the list tells so of it, and the others are served."""
    with album(tmp_path) as front:
        made(front, "good")
    # A gateway that starts anew finds the index of another collection as no index is.
    folder = tmp_path / "collections"
    (folder / "bad").mkdir()
    shutil.copytree(folder / "good" / "index", folder / "bad" / "index")
    for manifest in (folder / "bad" / "index").rglob("*.manifest"):
        manifest.write_bytes(b"junk")
    record = json.loads((folder / "good" / "collection.json").read_text())
    broken = {**record, "name": "bad", "uid": "0" * 16, "index": str(folder / "bad" / "index")}
    (folder / "bad" / "collection.json").write_text(json.dumps(broken))
    (tmp_path / "keys.json").unlink()
    with album(tmp_path) as front:
        listed = {one["name"]: one for one in told(call(front, "GET", ""))["collections"]}
        assert listed["good"]["items"] == 3
        assert listed["bad"]["state"] == "unavailable"
        assert "items" not in listed["bad"]
        assert call(front, "POST", "/good/search", json={"query": "beach"}).status_code == 200
        refused(call(front, "POST", "/bad/search", json={"query": "beach"}), 503, "unavailable")
