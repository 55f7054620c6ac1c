"""Items of both kinds in one request: each goes to its tower, and comes back in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from babelclip import Embeddings, ItemError
from babelclip.client.calls import checked_language
from babelclip.errors import SPACE_MISMATCH, BabelclipError, ModelNotFound, SpaceMismatch
from babelclip.wire import Tower
from gateway.errors import ApiError, from_client, malformed
from gateway.models import Chosen
from gateway.towers.base import ModelVersion

# A text, an encoded image, or why the item is neither.
Item = str | bytes | ItemError


async def embed(
    chosen: Chosen,
    items: Sequence[Item],
    *,
    language: str = "",
    space: str = "",
    dim: int | None = None,
    timeout: float | None = None,
) -> tuple[ModelVersion, Embeddings]:
    """Embed items of both kinds in one version → the version, and float32 [N, D] in the order of the items.

    An item that cannot be embedded has a row of zeros and an entry in `errors`, and costs no other item.

    Args:
        language: that of the texts, by BCP 47; "" for the model's default.
        space: the embedding space that the caller insists on, "" for any.
        dim: the number of values that the caller insists on, None for the model's.
        timeout: seconds that the caller waits.

    Raises:
        ApiError: the request fails as a whole.
    """
    try:
        checked_language(language)
    except ValueError as error:
        raise malformed(str(error), "language") from None
    if chosen.fetcher is not None:
        items = await chosen.fetcher.fetched(items)
    try:
        version = await _version(chosen, space, dim)
        try:
            return version, await _both(chosen, items, version, language, timeout)
        except (ModelNotFound, SpaceMismatch):
            # Another version has become the default, or this one was registered anew. Once more, with that.
            version = await _version(chosen, space, dim)
            return version, await _both(chosen, items, version, language, timeout)
    except BabelclipError as error:
        raise from_client(error) from error


async def _version(chosen: Chosen, space: str, dim: int | None) -> ModelVersion:
    version = await chosen.towers.version(chosen.version)
    if space and space != version.space:
        message = f"the model serves the embedding space {version.space}, not the one that was asked for"
        raise ApiError(409, SPACE_MISMATCH, message, param="space")
    if dim not in (None, version.dim):
        message = (
            f"vectors of this model have {version.dim} values and are not shortened; leave dimensions out"
        )
        raise malformed(message, "dimensions")
    return version


async def _both(
    chosen: Chosen, items: Sequence[Item], version: ModelVersion, language: str, timeout: float | None
) -> Embeddings:
    texts = {index: item for index, item in enumerate(items) if isinstance(item, str)}
    images = {index: item for index, item in enumerate(items) if isinstance(item, bytes)}
    result = Embeddings(np.zeros((len(items), version.dim), np.float32), version.space, version.logit_scale)
    errors = [replace(item, index=index) for index, item in enumerate(items) if isinstance(item, ItemError)]
    truncated: list[int] = []
    unknown: list[int] = []
    tokens: list[int] = []

    async def through(tower: Tower, indices: list[int], sent: Sequence[str] | Sequence[bytes]) -> None:
        if not sent:
            return
        # To a model that is told none it makes no difference, nor should it to the cache.
        told = language if tower == "text" and version.languages else ""
        outcomes = await chosen.towers.embed(tower, sent, version, language=told, timeout=timeout)
        if outcomes.dim:  # None is known where every item failed before it was sent.
            result.vectors[indices] = outcomes.vectors
        errors.extend(replace(error, index=indices[error.index]) for error in outcomes.errors)
        truncated.extend(indices[index] for index in outcomes.truncated)
        unknown.extend(indices[index] for index in outcomes.unknown)
        if outcomes.tokens:
            tokens[:] = [0] * len(items)
            for index, count in zip(indices, outcomes.tokens, strict=True):
                tokens[index] = count

    if not images:
        await through("text", list(texts), list(texts.values()))
    elif not texts:
        await through("vision", list(images), list(images.values()))
    else:
        await _together(
            through("text", list(texts), list(texts.values())),
            through("vision", list(images), list(images.values())),
        )
    return replace(
        result,
        version=version.version,
        errors=tuple(sorted(errors, key=lambda error: error.index)),
        truncated=tuple(sorted(truncated)),
        unknown=tuple(sorted(unknown)),
        tokens=tuple(tokens),
    )


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """All at the same time; if one fails, the others are given up."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
