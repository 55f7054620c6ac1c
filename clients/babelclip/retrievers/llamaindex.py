"""LlamaIndex: a retriever of images, and embeddings of texts and images.

    retriever = BabelclipRetriever(searcher, similarity_top_k=3, thumbnails=True)
    for found in retriever.retrieve("un chien sur la plage"):
        print(found.node.text, found.node.metadata["source"], found.score)

It takes `pip install 'babelclip[llamaindex]'`.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

try:
    from llama_index.core.base.embeddings.base import Embedding
    from llama_index.core.embeddings import MultiModalEmbedding
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import ImageNode, ImageType, NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise ImportError(
        "babelclip.retrievers.llamaindex needs LlamaIndex: pip install 'babelclip[llamaindex]'"
    ) from error
from pydantic import PrivateAttr

from babelclip.client.asynchronous import AsyncClient
from babelclip.client.items import ImageInput
from babelclip.client.sync import Client
from babelclip.index.filters import Filter
from babelclip.retrievers.finding import FoundImage, Source, find, find_async, query_terms
from babelclip.search.answering import Threshold
from babelclip.search.query import Term
from babelclip.search.searcher import Searcher

# Numbers and keys that say nothing to a language model, and would fill its context.
NOT_FOR_MODELS = ["id", "score", "match", "kind", "width", "height", "duplicates"]


class BabelclipRetriever(BaseRetriever):
    """Finds images by texts in any language, by images (`QueryBundle.image_path`), or by both.

    A node is an `ImageNode` where there is an image to look at, the thumbnail or the file of an index of this
    machine, and else a `TextNode`. Its text is the caption; its metadata are as those of a document of
    `babelclip.retrievers.langchain.BabelclipRetriever`, without the thumbnail.

    Args:
        images: what is searched: a `Searcher`, a `CollectionClient`, or an `AsyncCollectionClient`, which can
            be awaited alone. It is closed by who made it.
        similarity_top_k: nodes for a query, at most.
        where: only items that this filter keeps.
        diverse: give a burst of near-duplicates one place.
        threshold: the least cosine of a node; "auto": what a calibration says, so that a question to which
            nothing fits gets no node; None: there are always `similarity_top_k`.
        thumbnails: whether nodes hold a small picture.
        **settings: of LlamaIndex's own retriever, such as `callback_manager`.
    """

    def __init__(
        self,
        images: Source,
        *,
        similarity_top_k: int = 4,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
        thumbnails: bool = False,
        **settings: Any,
    ) -> None:
        if similarity_top_k < 1:
            raise ValueError(f"similarity_top_k must be at least 1, not {similarity_top_k}")
        super().__init__(**settings)
        self._images = images
        self._search: dict[str, Any] = {
            "top": similarity_top_k,
            "where": where,
            "diverse": diverse,
            "threshold": threshold,
            "thumbnails": thumbnails,
        }

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(find(self._images, _terms(query_bundle), **self._search))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(await find_async(self._images, _terms(query_bundle), **self._search))

    def _nodes(self, found: list[FoundImage]) -> list[NodeWithScore]:
        local = isinstance(self._images, Searcher)
        return [NodeWithScore(node=to_node(one, local=local), score=one.score) for one in found]


class BabelclipEmbedding(MultiModalEmbedding):
    """Vectors of texts and images for LlamaIndex's indexes: all in one space, each of length 1.

    Args:
        client: of a server, or of archives in this process.
        async_client: for the methods that are awaited; without it they use `client` in threads.
        **settings: of LlamaIndex's own embeddings, such as `embed_batch_size`.
    """

    _client: Client = PrivateAttr()
    _async_client: AsyncClient | None = PrivateAttr()

    def __init__(self, client: Client, async_client: AsyncClient | None = None, **settings: Any) -> None:
        super().__init__(**{"model_name": "babelclip", **settings})
        self._client = client
        self._async_client = async_client

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls it."""
        return "BabelclipEmbedding"

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embeddings([query])[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return _lists(self._client.embed_texts(texts).vectors)

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return _lists(self._client.embed_images([_image(one) for one in img_file_paths]).vectors)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._aget_text_embeddings([query]))[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        if self._async_client is None:
            return await asyncio.to_thread(self._get_text_embeddings, texts)
        return _lists((await self._async_client.embed_texts(texts)).vectors)

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        if self._async_client is None:
            return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)
        images = [_image(one) for one in img_file_paths]
        return _lists((await self._async_client.embed_images(images)).vectors)


def to_node(found: FoundImage, *, local: bool) -> TextNode:
    """An image as a node, by its caption.

    Args:
        local: whether its source, where it is a path, is one of this machine.
    """
    known: dict[str, Any] = {
        "id_": found.id,
        "text": found.caption,
        "metadata": found.details(),
        "excluded_llm_metadata_keys": NOT_FOR_MODELS,
        "excluded_embed_metadata_keys": NOT_FOR_MODELS,
    }
    file = found.source if local and found.kind == "image" and _is_file(found.source) else None
    if found.thumbnail:
        image = base64.b64encode(found.thumbnail).decode("ascii")
        return ImageNode(image=image, image_mimetype="image/jpeg", image_path=file, **known)
    return TextNode(**known) if file is None else ImageNode(image_path=file, **known)


def _terms(query: QueryBundle) -> str | list[Term]:
    return query_terms(query.query_str, query.image_path)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # No path at all: too long, or with a NUL.
        return False


def _image(image: ImageType) -> ImageInput:
    """A path or a data URI as it is, and the bytes of what can be read."""
    return image if isinstance(image, str) else image.getvalue()


def _lists(vectors: Any) -> list[Embedding]:
    lists: list[Embedding] = vectors.tolist()
    return lists
