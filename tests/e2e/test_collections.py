"""Collections of drawings by the committed model, as an operator starts gateway, engine and index."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from babelclip import CollectionClient, Term
from babelclip.collections import NewItem
from babelclip.keys.entries import Scope
from gateway.rpc import collections_pb2 as pb
from tests.e2e.gateways import Gateway, started
from tests.e2e.support import PATIENCE, Server
from tests.places import SAMPLES

NAMES = {"1f408": "cat", "1f355": "pizza", "1f480": "skull", "1f34e": "apple", "1f308": "rainbow"}
FOOD = ("1f355", "1f34e")
BROKEN = "broken"
SCOPES: tuple[Scope, ...] = ("embed", "search", "write")


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a gateway keeps its collections, and the setting that says so."""
    folder = tmp_path_factory.mktemp("gateway")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BABELCLIP_GATEWAY_COLLECTIONS", str(folder / "collections"))
        yield folder


@pytest.fixture(scope="module")
def front(folder: Path, server: Server) -> Iterator[Gateway]:
    """A gateway that was restarted after drawings, one of them twice, and a broken file were added."""
    first = folder / "first"
    first.mkdir()
    with started(first, server, scopes=SCOPES) as before, drawings(before) as collection:
        collection.create(fields={"shelf": "text"})
        items = [
            NewItem(
                id=name,
                image=SAMPLES / f"{code}.png",
                metadata={"shelf": "food" if code in FOOD else "other"},
            )
            for code, name in NAMES.items()
        ]
        outcomes = collection.add(
            [*items, NewItem(id="copy", image=smaller("1f355")), NewItem(id=BROKEN, image=b"x")]
        )
        assert [one.id for one in outcomes if not one.added] == [BROKEN]
    second = folder / "second"
    second.mkdir()
    with started(second, server, scopes=SCOPES) as after:
        yield after


def smaller(code: str) -> bytes:
    """A drawing in half its size, as a JPEG."""
    stream = io.BytesIO()
    with Image.open(SAMPLES / f"{code}.png") as drawing:
        white = Image.new("RGBA", drawing.size, "white")
        white.alpha_composite(drawing.convert("RGBA"))
        white.convert("RGB").resize((drawing.width // 2, drawing.height // 2)).save(
            stream, "JPEG", quality=85
        )
    return stream.getvalue()


def drawings(front: Gateway) -> CollectionClient:
    """The collection of the tests."""
    return CollectionClient(front.addresses["http"], "drawings", token=front.key)


def test_what_was_added_is_found_in_any_language_after_a_restart(front: Gateway) -> None:
    """Rows last, and a text in each language finds the drawing that it names."""
    with drawings(front) as collection:
        info = collection.info()
        assert (info.items, info.failed) == (len(NAMES) + 1, 1)
        for query, name in (
            ("Totenkopf", "skull"),
            ("радуга", "rainbow"),
            ("un chat", "cat"),
            ("りんご", "apple"),
        ):
            assert collection.search(query, top=1).hits[0].id == name, query
        assert {hit.id for hit in collection.search("pizza", top=10, where={"shelf": "food"}).hits} == {
            "pizza",
            "apple",
        }
        liked = collection.search([Term(image=smaller("1f408"))], top=3, where={"shelf": "other"})
        assert liked.hits[0].id == "cat"


def test_grpc_finds_the_same(front: Gateway) -> None:
    """Both protocols search one collection, with the same scores."""
    with drawings(front) as collection:
        expected = [(hit.id, hit.score) for hit in collection.search("rainbow", top=3).hits]
    with grpc.insecure_channel(front.addresses["grpc"].removeprefix("grpc://")) as channel:
        search = channel.unary_unary(
            "/babelclip.v1.Collections/Search",
            request_serializer=pb.SearchRequest.SerializeToString,
            response_deserializer=pb.SearchResponse.FromString,
        )
        request = pb.SearchRequest(collection="drawings", query="rainbow", options=pb.SearchOptions(top=3))
        metadata = (("authorization", f"Bearer {front.key}"),)
        answer = search(request, metadata=metadata, timeout=PATIENCE)
    assert [hit.id for hit in answer.hits] == [name for name, _ in expected]
    assert [hit.score for hit in answer.hits] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_a_smaller_copy_is_found_as_a_duplicate(front: Gateway) -> None:
    """The job groups a drawing with its copy, and with nothing else."""
    with drawings(front) as collection:
        job = collection.start_job("dedup", kinds=["exact", "near"])
        while job.state == "running":
            time.sleep(0.1)
            job = collection.job(job.id)
    assert job.state == "done", job
    assert job.result is not None
    assert [sorted(group["ids"]) for group in job.result["groups"]] == [["copy", "pizza"]]
