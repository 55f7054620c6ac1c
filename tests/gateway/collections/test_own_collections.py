"""A key for some collections: to it there are no others, by whatever call, over HTTP and gRPC."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from babelclip.keys.entries import SCOPES
from babelclip.keys.file import add
from gateway.rpc import collections_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import album, call, encoded, made, picture, refused, told
from tests.gateway.front import Front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection of each of two tenants, and one of nobody."""
    with album(tmp_path_factory.mktemp("album")) as front:
        for name in ("ours-one", "theirs", "ours"):
            made(front, name)
        yield front


@pytest.fixture(scope="module")
def key(front: Front) -> str:
    """A key with all scopes, for collections whose names begin with `ours-`, and one more."""
    return add(front.keys_file, "tenant", scopes=SCOPES, collections=["ours-*", "other"])


def ended(front: Front, job: str) -> Any:
    """A job, once it has ended."""
    end = time.monotonic() + PATIENCE
    while (found := told(call(front, "GET", f"/v1/jobs/{job}")))["state"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_every_call_on_anothers_collection_finds_none(front: Front, key: str) -> None:
    """Whatever the description has: 404, as for one that does not exist, and nothing changes."""
    described = front.get("/openapi.json").json()["paths"]
    bodies = {
        "items": {"items": [{"id": "new", "image": encoded(picture(6))}]},
        "delete": {"filter": {}},
        "search": {"query": "beach"},
        "similar": {"id": "beach"},
        "classify": {"labels": ["a"], "filter": {}},
        "jobs": {"kind": "compact"},
    }
    called = 0
    for path, methods in described.items():
        if "{collection}" not in path:
            continue
        for method in methods:
            for name in ("theirs", "ours", "nothing"):
                address = path.format(collection=name, item="beach")
                body = bodies.get(path.rpartition("/")[2]) if method == "post" else None
                answer = call(front, method.upper(), address, key, json=body)
                message = refused(answer, 404, "collection_not_found")
                assert message == f"there is no collection '{name}'", (method, path)
                called += 1
    assert called > 30
    for name in ("theirs", "ours"):
        assert told(call(front, "GET", f"/{name}"))["items"] == 3
    form = call(front, "POST", "/theirs/items", key, files=[("file", ("a.png", picture(6), "image/png"))])
    refused(form, 404, "collection_not_found")
    lines = {"content-type": "application/x-ndjson"}
    refused(
        call(front, "POST", "/theirs/items", key, content=b"{}", headers=lines), 404, "collection_not_found"
    )


def test_its_own_are_made_listed_and_searched(front: Front, key: str) -> None:
    """Within its names the key does what its scopes let it; a name that is none of its own is refused."""
    assert [one["name"] for one in told(call(front, "GET", "", key))["collections"]] == ["ours-one"]
    assert told(call(front, "POST", "", key, json={"name": "ours-two"}), 201)["items"] == 0
    assert told(call(front, "POST", "", key, json={"name": "other"}), 201)["items"] == 0
    for name in ("mine", "ours", "theirs"):
        message = refused(call(front, "POST", "", key, json={"name": name}), 403, "insufficient_scope")
        assert name in message
    assert len(told(call(front, "POST", "/ours-one/search", key, json={"query": "beach"}))["hits"]) == 3
    for name in ("ours-two", "other"):
        assert call(front, "DELETE", f"/{name}", key).status_code == 204


def test_jobs_of_others_are_not_seen(front: Front, key: str) -> None:
    """A job tells the names and numbers of a collection, and so is nobody else's."""
    theirs = told(call(front, "POST", "/theirs/jobs", json={"kind": "compact"}), 202)["id"]
    assert ended(front, theirs)["state"] == "done"
    for method in ("GET", "DELETE"):
        refused(call(front, method, f"/v1/jobs/{theirs}", key), 404, "job_not_found")
    ours = told(call(front, "POST", "/ours-one/jobs", key, json={"kind": "compact"}), 202)["id"]
    assert ended(front, ours)["state"] == "done"
    assert [job["id"] for job in told(call(front, "GET", "/v1/jobs", key))["jobs"]] == [ours]
    assert {ours, theirs} <= {job["id"] for job in told(call(front, "GET", "/v1/jobs"))["jobs"]}


def test_the_same_holds_over_grpc(front: Front, key: str) -> None:
    """Each call that names a collection finds none of another's."""
    new = pb.NewItem(id="new", image=picture(6))
    requests = {
        "Get": pb.GetCollectionRequest(name="theirs"),
        "Delete": pb.DeleteCollectionRequest(name="theirs"),
        "AddItems": pb.AddItemsRequest(collection="theirs", items=[new]),
        "ListItems": pb.ListItemsRequest(collection="theirs"),
        "DeleteItems": pb.DeleteItemsRequest(collection="theirs", ids=["beach"]),
        "Search": pb.SearchRequest(collection="theirs", query="beach"),
        "Similar": pb.SimilarRequest(collection="theirs", id="beach"),
        "Classify": pb.LabelRequest(collection="theirs", labels=["a"], ids=["beach"]),
        "StartJob": pb.StartJobRequest(collection="theirs", kind="compact"),
    }
    without = {"Create", "List", "ListJobs", "GetJob", "CancelJob"}
    service = pb.DESCRIPTOR.services_by_name["Collections"]
    assert {method.name for method in service.methods} == {*requests, *without}
    metadata = (("authorization", f"Bearer {key}"),)
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        for name, request in requests.items():
            path = f"/babelclip.v1.Collections/{name}"
            stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
            with pytest.raises(grpc.RpcError) as caught:
                list(stream(iter([request.SerializeToString()]), metadata=metadata, timeout=PATIENCE))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND, name
        listing: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/babelclip.v1.Collections/List"
        )
        listed = listing(b"", metadata=metadata, timeout=PATIENCE)
        assert [one.name for one in pb.ListCollectionsResponse.FromString(listed).collections] == ["ours-one"]
        create: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/babelclip.v1.Collections/Create"
        )
        request = pb.CreateCollectionRequest(name="mine")
        with pytest.raises(grpc.RpcError) as caught:
            create(request.SerializeToString(), metadata=metadata, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert told(call(front, "GET", "/theirs"))["items"] == 3
