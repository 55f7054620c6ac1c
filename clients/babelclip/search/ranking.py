"""Search of images by texts in any language, in vectors that were made before.

    from babelclip import Client, MultiLingualSearch, generate_embeddings

    with Client("mar:model_store") as model:
        generate_embeddings(model, "photographs", "vectors")
        search = MultiLingualSearch(model, "vectors")
        search.search("विद्यालय में", top=3)  # [{"image": "photographs/school.jpg", "prob": 0.93}, …]

The names are those of gzomer's Multilingual CLIP, whose users find their way here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.search.collection import Collection, read_collection

if TYPE_CHECKING:
    from babelclip.client.sync import Client


class Result(TypedDict):
    """One image of a ranking: its entry in `images_data`, and its probability, from 0 to 1."""

    image: Any
    prob: float


class MultiLingualSearch:
    """Ranks images by how well they fit a text. Safe to use from several threads.

    The probability of an image is the softmax over all N images of logit scale × cosine, as CLIP has it over
    texts (Radford et al., 2021, section 3.1.2):

        prob[i] = exp(s · cos(text, image[i])) / Σⱼ exp(s · cos(text, image[j]))

    where s is the logit scale that the model learnt. The probabilities of all images sum to 1, so they tell
    which image fits best, not whether any does: with more images each has less.

    Args:
        model: any client, of a server or of archives in this process.
        images_embeddings: what `generate_embeddings` returned, or the path of what it wrote, the folder or
            its embeddings.npy. Or Embeddings, or an array [N, dim], which is taken for vectors of this model
            and whose rows need not have length 1. A row of zeros, as an image that failed has it, is never a
            result.
        images_data: N entries, one per row, given back in results as they are: paths, addresses, dicts. Not
            needed for what `generate_embeddings` made.

    Raises:
        ValueError: there are no images, or not as many entries as rows; an array is no [N, dim] of finite
            numbers; a path leads to no files of `generate_embeddings`.
    """

    def __init__(
        self,
        model: Client,
        images_embeddings: Collection | Embeddings | ArrayLike | str | os.PathLike[str],
        images_data: Iterable[Any] | None = None,
    ) -> None:
        if isinstance(images_embeddings, str | os.PathLike):
            images_embeddings = read_collection(images_embeddings)
        if isinstance(images_embeddings, Collection):
            images_data = images_embeddings.images if images_data is None else images_data
            images_embeddings = images_embeddings.embeddings
        if images_data is None or isinstance(images_data, str | bytes):
            raise ValueError("images_data must be a list with an entry for each row of images_embeddings")
        data = list(images_data)
        known = images_embeddings if isinstance(images_embeddings, Embeddings) else None
        space = known.space if known else ""
        rows, norms = _lengths(np.asarray(images_embeddings))
        if len(data) != len(rows):
            raise ValueError(f"images_data has {len(data)} entries for {len(rows)} rows of images_embeddings")
        present = np.flatnonzero(norms)
        if not len(present):
            raise ValueError("there are no images to search: images_embeddings holds no vectors")
        self._model = model
        self._space = space
        if known and known.version and model.space is None:
            # Before the first query, so that it goes to the version that the images were embedded by.
            model.pin(space, known.version)
        self._vectors: Vectors = rows[present] / norms[present, None]
        self._data = [data[row] for row in present]

    @overload
    def search(self, text: str, top: int = 10) -> list[Result]: ...
    @overload
    def search(self, text: list[str] | tuple[str, ...], top: int = 10) -> list[list[Result]]: ...
    def search(
        self, text: str | list[str] | tuple[str, ...], top: int = 10
    ) -> list[Result] | list[list[Result]]:
        """One text → its `top` best images, best first. A list of texts → such a list for each.

        Raises:
            SpaceMismatch: the images' vectors are of another embedding space than the model's, or have
                another dimension.
            ItemErrors, BabelclipError: a text could not be embedded, as in `Client.embed_texts`.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        texts = [text] if isinstance(text, str) else text
        if not texts:
            return []
        asked = self._model.embed_texts(texts)
        self._require_space(asked)
        cosines = asked.vectors @ self._vectors.T
        results = []
        for row, probabilities in zip(cosines, softmax(asked.logit_scale * cosines), strict=True):
            best = np.argsort(-row, kind="stable")[:top]
            results.append([Result(image=self._data[i], prob=float(probabilities[i])) for i in best])
        return results[0] if isinstance(text, str) else results

    def _require_space(self, asked: Embeddings) -> None:
        if self._space and self._space != asked.space:
            raise SpaceMismatch(
                f"the images' vectors are of the space {self._space}, the model's of {asked.space};"
                " embed the images again with this model"
            )
        if self._vectors.shape[1] != asked.dim:
            raise SpaceMismatch(
                f"the images' vectors have {self._vectors.shape[1]} values, the model's {asked.dim};"
                " embed the images again with this model"
            )


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """[T, N] → float64 [T, N], every row of which sums to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _lengths(array: NDArray[Any]) -> tuple[Vectors, Vectors]:
    """An array → its rows as float32 [N, dim] and their lengths [N].

    Raises:
        ValueError: it is no [N, dim] of finite numbers.
    """
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ValueError(f"images_embeddings must be numbers [N, dim], not {array.dtype} {list(array.shape)}")
    rows: Vectors = array.astype(np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("images_embeddings holds numbers that are not finite")
    norms: Vectors = np.linalg.norm(rows, axis=1)
    return rows, norms
