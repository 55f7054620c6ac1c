"""Collections over gRPC: the same collections as over HTTP, with the same scopes and refusals."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from babelclip.keys.file import add
from gateway.rpc import collections_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import BROKEN, album, picture
from tests.gateway.front import Front

KINDS: dict[str, type[Message]] = {
    "Create": pb.Collection,
    "List": pb.ListCollectionsResponse,
    "Get": pb.Collection,
    "Delete": pb.DeleteCollectionResponse,
    "ListItems": pb.ListItemsResponse,
    "DeleteItems": pb.DeleteItemsResponse,
    "Search": pb.SearchResponse,
    "Similar": pb.SearchResponse,
    "Classify": pb.LabelResponse,
    "StartJob": pb.Job,
    "ListJobs": pb.ListJobsResponse,
    "GetJob": pb.Job,
    "CancelJob": pb.Job,
}


class Stub:
    """The calls over a channel, as a generated stub has them."""

    def __init__(self, front: Front) -> None:
        self.channel = grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://"))
        self.key = front.key

    def __call__(self, name: str, request: Any, key: str = "") -> Any:
        """One request, one answer."""
        call: grpc.UnaryUnaryMultiCallable[Message, Message] = self.channel.unary_unary(
            f"/babelclip.v1.Collections/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=KINDS[name].FromString,
        )
        return call(request, metadata=(("authorization", f"Bearer {key or self.key}"),), timeout=PATIENCE)

    def add(self, *requests: pb.AddItemsRequest) -> list[pb.AddItemsResponse]:
        """AddItems."""
        call = self.channel.stream_stream(
            "/babelclip.v1.Collections/AddItems",
            request_serializer=pb.AddItemsRequest.SerializeToString,
            response_deserializer=pb.AddItemsResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {self.key}"),)
        return list(call(iter(requests), metadata=metadata, timeout=PATIENCE))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that keeps collections."""
    with album(tmp_path_factory.mktemp("album")) as front:
        yield front


@pytest.fixture(scope="module")
def stub(front: Front) -> Iterator[Stub]:
    """Its calls, with a collection of three pictures of which one cannot be read."""
    stub = Stub(front)
    with stub.channel:
        fields = {"album": "text", "year": "integer"}
        made = stub("Create", pb.CreateCollectionRequest(name="shared", fields=fields))
        assert (made.model, made.version, made.dim, dict(made.fields)) == ("clip", "1.0", 8, fields)
        metadata = Struct()
        metadata.update({"album": "sea", "year": 2020})
        first, second = stub.add(
            pb.AddItemsRequest(
                collection="shared",
                items=[
                    pb.NewItem(id="beach", image=picture(1), caption="a beach", metadata=metadata),
                    pb.NewItem(id="broken", image=BROKEN),
                ],
            ),
            pb.AddItemsRequest(items=[pb.NewItem(id="city", image=picture(3))]),
        )
        assert [(one.id, one.code) for one in first.outcomes] == [
            ("beach", ""),
            ("broken", "image_undecodable"),
        ]
        assert [(one.id, one.code) for one in second.outcomes] == [("city", "")]
        yield stub


def refusal(stub: Stub, name: str, request: Any, key: str = "") -> grpc.StatusCode:
    """The status of a call that must be refused."""
    with pytest.raises(grpc.RpcError) as caught:
        stub(name, request, key)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_items_are_listed(stub: Stub) -> None:
    """Page by page, with what is known of each, and why it failed where it did."""
    first = stub("ListItems", pb.ListItemsRequest(collection="shared", limit=2))
    assert [(one.id, one.code) for one in first.items] == [("beach", ""), ("broken", "image_undecodable")]
    assert (first.items[0].caption, first.items[0].metadata["year"], first.items[0].width) == (
        *("a beach", 2020),
        48,
    )
    rest = stub("ListItems", pb.ListItemsRequest(collection="shared", after=first.next_after))
    assert [one.id for one in rest.items][:1] == ["city"]
    assert not rest.HasField("next_after")
    where = Struct()
    where.update({"album": "sea"})
    asked = pb.ListItemsRequest(collection="shared", filter=where, failed=False)
    assert [one.id for one in stub("ListItems", asked).items] == ["beach"]
    with pytest.raises(grpc.RpcError) as caught:
        stub("ListItems", pb.ListItemsRequest(collection="shared", limit=1001))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_collection_is_searched(stub: Stub) -> None:
    """By words, by terms and by an item, with a filter whose numbers are whole."""
    found = stub("Search", pb.SearchRequest(collection="shared", query="beach"))
    assert [hit.id for hit in found.hits] == ["beach", "city"]
    hit = found.hits[0]
    assert (hit.caption, hit.width, dict(hit.metadata)) == ("a beach", 48, {"album": "sea", "year": 2020.0})
    assert found.fits
    assert found.hits[0].match > found.hits[1].match
    where = Struct()
    where.update({"year": {"$gte": 2020}})
    options = pb.SearchOptions(top=5, filter=where, no_threshold=True)
    terms = [pb.Term(text="city"), pb.Term(image=picture(1), weight=-0.1)]
    found = stub("Search", pb.SearchRequest(collection="shared", terms=terms, options=options))
    assert ([hit.id for hit in found.hits], found.HasField("threshold")) == (["beach"], False)
    like = stub("Similar", pb.SimilarRequest(collection="shared", id="beach"))
    assert [hit.id for hit in like.hits] == ["city"]


def test_items_are_labelled_and_deleted(stub: Stub) -> None:
    """As over HTTP; what a filter keeps, or ids."""
    asked = pb.LabelRequest(collection="shared", labels=["beach", "people"], filter=Struct())
    labels = {one.id: one.label for one in stub("Classify", asked).items}
    assert labels == {"beach": "beach", "city": ""}
    stub("Create", pb.CreateCollectionRequest(name="short"))
    stub.add(pb.AddItemsRequest(collection="short", items=[pb.NewItem(id="a", image=picture(1))]))
    deleted = stub("DeleteItems", pb.DeleteItemsRequest(collection="short", ids=["a", "b"]))
    assert deleted.deleted == 1
    stub("Delete", pb.DeleteCollectionRequest(name="short"))
    names = [one.name for one in stub("List", pb.ListCollectionsRequest()).collections]
    assert names == ["shared"]


def test_a_job_is_begun_and_told(stub: Stub) -> None:
    """Its result comes with it, and in the list without."""
    job = stub("StartJob", pb.StartJobRequest(collection="shared", kind="compact"))
    while job.state == "running":
        job = stub("GetJob", pb.GetJobRequest(id=job.id))
    assert (job.state, job.kind, "method" in dict(job.result)) == ("done", "compact", True)
    assert [one.id for one in stub("ListJobs", pb.ListJobsRequest()).jobs] == [job.id]
    assert stub("CancelJob", pb.CancelJobRequest(id=job.id)).state == "done"


def test_refusals_have_their_status(stub: Stub, front: Front) -> None:
    """What there is not, what is wrong, and what a key may not do."""
    codes = grpc.StatusCode
    assert refusal(stub, "Get", pb.GetCollectionRequest(name="none")) is codes.NOT_FOUND
    assert refusal(stub, "Get", pb.GetCollectionRequest(name="../a")) is codes.NOT_FOUND
    assert refusal(stub, "Create", pb.CreateCollectionRequest(name="a/b")) is codes.INVALID_ARGUMENT
    assert refusal(stub, "Create", pb.CreateCollectionRequest(name="shared")) is codes.FAILED_PRECONDITION
    both = pb.SearchRequest(collection="shared", query="a", terms=[pb.Term(text="a")])
    assert refusal(stub, "Search", both) is codes.INVALID_ARGUMENT
    empty = pb.SearchRequest(collection="shared", terms=[pb.Term()])
    assert refusal(stub, "Search", empty) is codes.INVALID_ARGUMENT
    assert refusal(stub, "DeleteItems", pb.DeleteItemsRequest(collection="shared")) is codes.INVALID_ARGUMENT
    reader = add(front.keys_file, "reader", scopes=["search"])
    writer = add(front.keys_file, "writer", scopes=["write"])
    making = pb.CreateCollectionRequest(name="of-a-reader")
    assert refusal(stub, "Create", making, reader) is codes.PERMISSION_DENIED
    searching = pb.SearchRequest(collection="shared", query="a")
    assert refusal(stub, "Search", searching, writer) is codes.PERMISSION_DENIED
    importing = pb.StartJobRequest(collection="shared", kind="import")
    assert refusal(stub, "StartJob", importing, writer) is codes.PERMISSION_DENIED


def test_a_stream_ends_with_its_refusal(stub: Stub) -> None:
    """After the answers to what came before it."""
    good = pb.AddItemsRequest(collection="shared", items=[pb.NewItem(id="again", image=picture(1))])
    with pytest.raises(grpc.RpcError) as caught:
        stub.add(good, pb.AddItemsRequest(collection="none", items=good.items))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert stub("DeleteItems", pb.DeleteItemsRequest(collection="shared", ids=["again"])).deleted == 1


def test_the_service_describes_itself(stub: Stub) -> None:
    """grpcurl lists it where it is served."""
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection_pb2_grpc.ServerReflectionStub(stub.channel).ServerReflectionInfo(iter([asked]))
    (answer,) = list(answers)
    assert "babelclip.v1.Collections" in {one.name for one in answer.list_services_response.service}
