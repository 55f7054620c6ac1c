"""LangChain's own interfaces over an index and over a collection, and a chain that answers from images."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from babelclip import AsyncClient, ItemErrors
from babelclip.search.query import InvalidQuery
from babelclip.testing import InMemoryTransport
from tests.clients.retrievers.library import Library, model
from tests.gateway.collections.album import DIM, VECTORS, picture

if TYPE_CHECKING:
    from babelclip.retrievers.langchain import BabelclipRetriever

# Not by importing it, which takes seconds, in every process that collects the tests.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("langchain_core") is None, reason="LangChain is not installed"
)


def retriever(images: Library, kind: str, **settings: Any) -> BabelclipRetriever:
    # Here, because its import takes seconds, in every process that collects the tests.
    from babelclip.retrievers.langchain import BabelclipRetriever

    source = images.searcher if kind == "index" else images.client
    return BabelclipRetriever(images=source, **settings)


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_documents_say_what_was_found(images: Library, kind: str) -> None:
    """A chain gets captions as texts, and source, score and the item's own metadata beside them."""
    assert [one.id for one in retriever(images, kind).invoke("city")] == ["city"]  # The others do not fit.
    (document,) = retriever(images, kind, thumbnails=True, k=1).invoke("beach -people")
    assert document.id == "beach"
    assert document.page_content == "a beach"
    assert document.metadata["album"] == "sea"
    assert document.metadata["id"] == "beach"
    assert document.metadata["kind"] == "image"
    assert document.metadata["score"] > 0.8
    assert document.metadata["match"] > 0.5
    assert "begin" not in document.metadata
    assert bool(document.metadata["source"]) == (kind == "index")  # The album gives none to its items.
    head, _, data = document.metadata["thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(data)[:2] == b"\xff\xd8"


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_settings_hold_for_all_calls_and_arguments_for_one(images: Library, kind: str) -> None:
    """How many, which, and whether something must fit is set once, and may differ in a call."""
    all_of_them = retriever(images, kind, threshold=None)
    assert [one.id for one in all_of_them.invoke("people")] == ["bathers", "beach", "city"]
    assert [one.id for one in all_of_them.invoke("people", k=1)] == ["bathers"]
    assert [one.id for one in all_of_them.invoke("people", where={"album": "land"})] == ["city"]
    assert "thumbnail" not in all_of_them.invoke("people")[0].metadata
    few = retriever(images, kind, k=1, where={"album": "sea"}, threshold=None)
    assert [one.id for one in few.invoke("city")] != ["city"]
    assert retriever(images, kind).invoke("people", where={"album": "land"}) == []


@pytest.mark.parametrize("kind", ["index", "collection"])
def test_images_are_queries_too(images: Library, kind: str, tmp_path: Path) -> None:
    """A picture alone, or with a text, finds its like."""
    (tmp_path / "a.png").write_bytes(picture(3))
    found = retriever(images, kind, k=1, threshold=None)
    assert found.invoke("", image=picture(3))[0].id == "city"
    assert found.invoke("city", image=tmp_path / "a.png")[0].id == "city"
    with pytest.raises(InvalidQuery, match="empty"):
        found.invoke("  ")


@pytest.mark.parametrize("kind", ["index", "collection", "awaited"])
def test_all_of_it_can_be_awaited(images: Library, kind: str) -> None:
    """Within an event loop several questions are asked at a time, and none blocks the others."""

    async def ask(found: BabelclipRetriever) -> list[list[str]]:
        asked = [found.ainvoke("beach"), found.ainvoke("city", k=1, where={"album": "land"})]
        return [
            [str(one.metadata["thumbnail"])[:10] for one in each] for each in await asyncio.gather(*asked)
        ]

    async def run() -> list[list[str]]:
        if kind != "awaited":
            return await ask(retriever(images, kind, thumbnails=True))
        from babelclip.retrievers.langchain import BabelclipRetriever

        async with images.awaited() as client:
            return await ask(BabelclipRetriever(images=client, thumbnails=True))

    assert asyncio.run(run()) == [["data:image"] * 2, ["data:image"]]


def test_what_can_be_awaited_alone_says_so(images: Library) -> None:
    """Whoever calls the wrong method is told the right one."""
    from babelclip.retrievers.langchain import BabelclipRetriever

    client = images.awaited()
    with pytest.raises(TypeError, match="asynchronous method"):
        BabelclipRetriever(images=client).invoke("beach")
    asyncio.run(client.close())


def test_settings_that_make_no_sense_are_refused(images: Library) -> None:
    """A retriever that could find nothing is not made."""
    from pydantic import ValidationError

    from babelclip.retrievers.langchain import BabelclipRetriever

    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        retriever(images, "index", k=0)
    with pytest.raises(ValidationError):
        BabelclipRetriever(images="photographs.index")  # type: ignore[arg-type]  # wrong on purpose


def test_a_chain_answers_from_images(images: Library) -> None:
    """Retriever, prompt and model make one chain: pictures and captions reach the model with the question."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    seen: list[list[BaseMessage]] = []

    def prompt(given: dict[str, Any]) -> list[BaseMessage]:
        content: list[str | dict[Any, Any]] = [{"type": "text", "text": given["question"]}]
        for document in given["images"]:
            content.append({"type": "text", "text": document.page_content})
            content.append({"type": "image_url", "image_url": {"url": document.metadata["thumbnail"]}})
        seen.append([HumanMessage(content=content)])
        return seen[-1]

    chain = (
        {"images": retriever(images, "index", thumbnails=True), "question": RunnablePassthrough()}
        | RunnableLambda(prompt)
        | GenericFakeChatModel(messages=iter([AIMessage(content="sand and water")]))
        | StrOutputParser()
    )
    assert chain.invoke("plage") == "sand and water"
    ((message,),) = seen
    kinds = [part["type"] for part in message.content if isinstance(part, dict)]
    assert kinds == ["text", "text", "image_url", "text", "image_url"]


def test_vector_stores_get_vectors(tmp_path: Path) -> None:
    """A store of LangChain's keeps texts by our vectors, and images lie in the same space."""
    from langchain_core.vectorstores import InMemoryVectorStore

    from babelclip.retrievers.langchain import BabelclipEmbeddings

    transport = InMemoryTransport(dim=DIM, vectors=VECTORS)
    (tmp_path / "a.png").write_bytes(picture(1))
    with model() as client:
        embeddings = BabelclipEmbeddings(client)
        store = InMemoryVectorStore.from_texts(["city", "beach"], embeddings)
        assert [one.page_content for one in store.similarity_search("plage", k=1)] == ["beach"]
        image, text = embeddings.embed_image([str(tmp_path / "a.png")])[0], embeddings.embed_query("beach")
        assert np.dot(image, text) > 0.9
        with pytest.raises(ItemErrors):
            embeddings.embed_documents(["a", ""])

        async def run() -> tuple[list[float], list[float]]:
            in_threads = await embeddings.aembed_query("beach")
            async with AsyncClient("", transport=transport.asynchronous()) as client:
                return in_threads, await BabelclipEmbeddings(embeddings.client, client).aembed_query("beach")

        one, other = asyncio.run(run())
    assert one == other == text
