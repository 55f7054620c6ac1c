"""The language of a search in a collection, and of labels, for a model that is told it."""

from collections.abc import Iterator

import grpc
import pytest

from babelclip import CollectionClient
from babelclip.collections import NewItem
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.rpc import collections_pb2 as pb
from tests.gateway.collections.album import album, picture
from tests.gateway.engine import Engine
from tests.gateway.front import Front

TEXT = "a query of its own"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection of one picture, before a model that is told languages."""
    engine = Engine(InMemoryTransport(languages=["bn", "en"]))
    with album(tmp_path_factory.mktemp("album"), engine) as front:
        with collection(front) as pictures:
            pictures.create()
            (outcome,) = pictures.add([NewItem(id="one", image=picture(1))])
            assert outcome.added
        yield front


def collection(front: Front) -> CollectionClient:
    return CollectionClient(front.addresses.http, "pictures", token=front.key)


def cosine(front: Front, language: str) -> float:
    """Of the query in that language with the picture."""
    engine = front.engine.versions["1.0"]
    return float(engine.vector_in(language, TEXT) @ engine.vector(picture(1)))


@pytest.mark.parametrize("language", ["bn", "en"])
def test_a_query_is_embedded_in_the_language_that_is_said(front: Front, language: str) -> None:
    """Over HTTP and gRPC, and one that says none is another query."""
    with collection(front) as pictures:
        (hit,) = pictures.search(TEXT, threshold=None, language=language).hits
        (untold,) = pictures.search(TEXT, threshold=None).hits
    assert hit.score == pytest.approx(cosine(front, language), abs=1e-4)
    assert untold.score != pytest.approx(hit.score, abs=1e-4)
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        search = channel.unary_unary(
            "/babelclip.v1.Collections/Search",
            request_serializer=pb.SearchRequest.SerializeToString,
            response_deserializer=pb.SearchResponse.FromString,
        )
        asked = pb.SearchRequest(
            collection="pictures",
            query=TEXT,
            language=language,
            options=pb.SearchOptions(no_threshold=True),
        )
        found = search(asked, metadata=(("authorization", f"Bearer {front.key}"),), timeout=60)
    assert found.hits[0].score == pytest.approx(hit.score, abs=1e-4)


def test_labels_are_embedded_in_the_language_of_their_templates(front: Front) -> None:
    """Whose built-in sentences are asked for is told to the model."""
    before = len(front.engine.calls)
    with collection(front) as pictures:
        pictures.classify(["a label of its own", "another"], ids=["one"], language="en")
    asked = [EmbedRequest.FromString(call.body) for call in front.engine.calls[before:]]
    assert {request.language for request in asked if request.texts} == {"en"}
