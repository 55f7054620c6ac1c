"""LlamaIndex's own interfaces over an index and over a collection."""

from __future__ import annotations

import asyncio
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from babelclip import AsyncClient
from babelclip.retrievers.finding import FoundImage
from babelclip.testing import InMemoryTransport
from tests.clients.retrievers.library import Library, model, thumbnail
from tests.gateway.collections.album import DIM, VECTORS, picture

if TYPE_CHECKING:
    from babelclip.retrievers.llamaindex import BabelclipRetriever

# Not by importing it, which takes seconds, in every process that collects the tests.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llama_index") is None, reason="LlamaIndex is not installed"
)


def retriever(images: Library, kind: str, **settings: Any) -> BabelclipRetriever:
    # Here, because its import takes seconds, in every process that collects the tests.
    from babelclip.retrievers.llamaindex import BabelclipRetriever

    return BabelclipRetriever(images.searcher if kind == "index" else images.client, **settings)


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_nodes_say_what_was_found(images: Library, kind: str) -> None:
    """A query engine gets nodes with pictures, captions as texts, scores, sources and metadata."""
    from llama_index.core.schema import ImageNode, MetadataMode
    from PIL import Image

    (found,) = retriever(images, kind, similarity_top_k=1, thumbnails=True).retrieve("beach -people")
    node = found.node
    assert isinstance(node, ImageNode)
    assert (node.node_id, node.text, node.metadata["album"]) == ("beach", "a beach", "sea")
    assert found.score is not None
    assert found.score > 0.8
    assert node.image_mimetype == "image/jpeg"
    with Image.open(node.resolve_image()) as opened:
        assert opened.size == (48, 48)
    shown = node.get_content(metadata_mode=MetadataMode.LLM)
    assert "a beach" in shown
    assert "source:" in shown
    assert "score" not in shown


def test_a_file_is_an_image_without_a_thumbnail(images: Library) -> None:
    """What lies on this machine can be looked at as it is; a collection's source is no path here."""
    from llama_index.core.schema import ImageNode

    (local,) = retriever(images, "index").retrieve("city")
    assert isinstance(local.node, ImageNode)
    assert local.node.image_path == local.node.metadata["source"]
    assert local.node.image_path is not None
    assert Path(local.node.image_path).read_bytes() == picture(3)
    (remote,) = retriever(images, "collection").retrieve("city")
    assert not isinstance(remote.node, ImageNode)


def test_a_moment_has_its_times() -> None:
    """A part of a film is a text with its range, and a picture where there is one."""
    from llama_index.core.schema import ImageNode

    from babelclip.retrievers.llamaindex import to_node

    moment = FoundImage(
        id="m", source=__file__, caption="", score=0.3, kind="moment", begin=2.0, end=4.5, metadata={"id": 7}
    )
    node = to_node(moment, local=True)
    assert not isinstance(node, ImageNode)
    assert (node.metadata["begin"], node.metadata["end"], node.metadata["id"]) == (2.0, 4.5, "m")
    shown = FoundImage(id="m", source="a.mp4\0", caption="", score=0.3, thumbnail=thumbnail(1))
    assert isinstance(to_node(shown, local=True), ImageNode)


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_images_are_queries_too(images: Library, kind: str, tmp_path: Path) -> None:
    """A query may hold the path of a picture, beside a text or alone."""
    from llama_index.core.schema import QueryBundle

    (tmp_path / "a.png").write_bytes(picture(3))
    found = retriever(images, kind, similarity_top_k=1, threshold=None)
    for text in ("", "city"):
        assert found.retrieve(QueryBundle(text, image_path=str(tmp_path / "a.png")))[0].node_id == "city"
    limited = retriever(images, kind, threshold=None, where={"album": "sea"}, diverse=False)
    assert {one.node_id for one in limited.retrieve("city")} == {"beach", "bathers"}
    with pytest.raises(ValueError, match="at least 1"):
        retriever(images, kind, similarity_top_k=0)


@pytest.mark.parametrize("kind", ["index", "collection", "awaited"])
def test_all_of_it_can_be_awaited(images: Library, kind: str) -> None:
    """Within an event loop several questions are asked at a time."""
    from babelclip.retrievers.llamaindex import BabelclipRetriever

    async def ask(found: BabelclipRetriever) -> list[list[str]]:
        asked = await asyncio.gather(found.aretrieve("city"), found.aretrieve("people"))
        return [[one.node_id for one in each] for each in asked]

    async def run() -> list[list[str]]:
        if kind != "awaited":
            return await ask(retriever(images, kind, thumbnails=True))
        async with images.awaited() as client:
            return await ask(BabelclipRetriever(client, thumbnails=True))

    assert asyncio.run(run()) == [["city"], ["bathers"]]


def test_a_query_engine_shows_the_model_what_was_found(images: Library) -> None:
    """Nodes go through LlamaIndex's own engine: the model is asked with captions and sources."""
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.core.response_synthesizers import SimpleSummarize

    found = retriever(images, "index", similarity_top_k=1, thumbnails=True)
    engine = RetrieverQueryEngine(found, response_synthesizer=SimpleSummarize(llm=MockLLM()))
    answer = engine.query("beach -people")
    assert [one.node_id for one in answer.source_nodes] == ["beach"]
    assert "a beach" in str(answer)  # The model of the test says what it was asked.


def test_indexes_get_vectors(tmp_path: Path) -> None:
    """Texts and images are embedded one at a time and many at once, in threads and awaited, all the same."""
    from babelclip.retrievers.llamaindex import BabelclipEmbedding

    transport = InMemoryTransport(dim=DIM, vectors=VECTORS)
    (tmp_path / "a.png").write_bytes(picture(1))
    path = str(tmp_path / "a.png")
    with model() as client:
        embedding = BabelclipEmbedding(client, embed_batch_size=2)
        texts = embedding.get_text_embedding_batch(["city", "beach", "plage"])
        assert texts[1] == texts[2] == embedding.get_query_embedding("beach")
        assert texts[0] == embedding.get_text_embedding("city")
        images = embedding.get_image_embedding_batch([path, io.BytesIO(picture(1))])
        assert images[0] == images[1] == embedding.get_image_embedding(path)
        assert np.dot(images[0], texts[1]) > 0.9
        assert embedding.to_payload()["class_name"] == "BabelclipEmbedding"

        async def run(embedding: BabelclipEmbedding) -> list[Any]:
            return [
                await embedding.aget_query_embedding("beach"),
                await embedding.aget_text_embedding("beach"),
                (await embedding.aget_text_embedding_batch(["beach"]))[0],
                await embedding.aget_image_embedding(path),
                (await embedding.aget_image_embedding_batch([path]))[0],
            ]

        async def both() -> list[list[Any]]:
            async with AsyncClient("", transport=transport.asynchronous()) as awaited:
                return [await run(embedding), await run(BabelclipEmbedding(client, awaited))]

        for found in asyncio.run(both()):
            assert found == [texts[1]] * 3 + [images[0]] * 2
