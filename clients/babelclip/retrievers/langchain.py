"""LangChain: a retriever of images, and embeddings of texts and images.

    retriever = BabelclipRetriever(images=searcher, k=3, thumbnails=True)
    for document in retriever.invoke("un chien sur la plage"):
        print(document.page_content, document.metadata["source"], document.metadata["score"])

It takes `pip install 'babelclip[langchain]'`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError(
        "babelclip.retrievers.langchain needs LangChain: pip install 'babelclip[langchain]'"
    ) from error
from pydantic import Field

from babelclip.client.asynchronous import AsyncClient
from babelclip.client.items import ImageInput
from babelclip.client.sync import Client
from babelclip.index.filters import Filter
from babelclip.retrievers.finding import FoundImage, Source, find, find_async, query_terms


class BabelclipRetriever(BaseRetriever):
    """Finds images by texts in any language, by images, or by both.

    A document's text is the caption of the image. Its metadata are the item's own, and `id`, `source`,
    `score` (the cosine), `kind`, and where they are known `match` (the probability that it fits), `begin` and
    `end` of a moment in seconds, `width`, `height`, `taken`, `duplicates`, and `thumbnail`, a JPEG as a data
    URI.

    `invoke` and `ainvoke` take `image`, `where` and `k` of one call, too:
    `retriever.invoke("in red", image="sofa.jpg", where={"width": {"$gte": 800}}, k=3)`. With an image the
    text may be empty.

    Attributes:
        images: what is searched: a `Searcher`, a `CollectionClient`, or an `AsyncCollectionClient`, which can
            be awaited alone. It is closed by who made it.
        k: documents for a query, at most.
        where: only items that this filter keeps.
        diverse: give a burst of near-duplicates one place.
        threshold: the least cosine of a document; "auto": what a calibration says, so that a question to
            which nothing fits gets no document; None: there are always `k`.
        thumbnails: whether documents hold a small picture.
    """

    images: Source
    k: int = Field(default=4, ge=1, le=1000)
    where: dict[str, Any] | None = None
    diverse: bool = True
    threshold: float | Literal["auto"] | None = "auto"
    thumbnails: bool = False

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        image: bytes | str | os.PathLike[str] | None = None,
        where: Filter | None = None,
        k: int | None = None,
    ) -> list[Document]:
        found = find(self.images, query_terms(query, image), **self._settings(where, k))
        return [to_document(one) for one in found]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        image: bytes | str | os.PathLike[str] | None = None,
        where: Filter | None = None,
        k: int | None = None,
    ) -> list[Document]:
        found = await find_async(self.images, query_terms(query, image), **self._settings(where, k))
        return [to_document(one) for one in found]

    def _settings(self, where: Filter | None, k: int | None) -> dict[str, Any]:
        return {
            "top": self.k if k is None else k,
            "where": self.where if where is None else where,
            "diverse": self.diverse,
            "threshold": self.threshold,
            "thumbnails": self.thumbnails,
        }


class BabelclipEmbeddings(Embeddings):
    """Vectors of texts and images for LangChain's vector stores: all in one space, each of length 1.

    Args:
        client: of a server, or of archives in this process.
        async_client: for the methods that are awaited; without it they use `client` in threads.
    """

    def __init__(self, client: Client, async_client: AsyncClient | None = None) -> None:
        self.client = client
        self.async_client = async_client

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """N texts → N vectors.

        Raises:
            ItemErrors, BabelclipError: as in `Client.embed_texts`.
        """
        return _lists(self.client.embed_texts(texts).vectors)

    def embed_query(self, text: str) -> list[float]:
        """One text → its vector."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Sequence[ImageInput]) -> list[list[float]]:
        """N images, as paths, data URIs or bytes → N vectors; stores call it for `add_images`.

        Raises:
            ItemErrors, BabelclipError: as in `Client.embed_images`.
        """
        return _lists(self.client.embed_images(uris).vectors)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """See `embed_documents`."""
        if self.async_client is None:
            return await super().aembed_documents(texts)
        return _lists((await self.async_client.embed_texts(texts)).vectors)

    async def aembed_query(self, text: str) -> list[float]:
        """See `embed_query`."""
        return (await self.aembed_documents([text]))[0]


def to_document(found: FoundImage) -> Document:
    """An image as a document, by its caption."""
    metadata = found.details()
    if found.thumbnail_uri is not None:
        metadata["thumbnail"] = found.thumbnail_uri
    return Document(page_content=found.caption, metadata=metadata, id=found.id)


def _lists(vectors: Any) -> list[list[float]]:
    lists: list[list[float]] = vectors.tolist()
    return lists
