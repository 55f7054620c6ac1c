"""babelclip's own wire format: an EmbedRequest for one tower → an EmbedResponse, as the tower itself answers.

`babelclip.Client` and its command line send it to TorchServe's addresses, over HTTP and gRPC. The gateway has
the same ones, so that they work with it, with a key of its own. embedding.proto has the contract.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import DecodeError

from babelclip import Embeddings, ItemError
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.errors import CANARY_MISMATCH, BabelclipError
from babelclip.item_errors import INVALID_UTF8
from babelclip.wire import Tower
from gateway.embedding import Item, embed
from gateway.errors import MODEL_NOT_FOUND, ApiError, from_client, malformed
from gateway.models import Chosen, Models
from gateway.towers.base import ModelVersion

_TOWER = re.compile(r"(?:(?P<model>.+):)?(?P<tower>text|vision)")
# How a request fails for its own sake. The message itself says so; what is the server's affair is said by the
# status of HTTP or gRPC, which is how the client knows what it may send again.
_OF_THE_REQUEST = frozenset({400, 409, 413})


@dataclass(frozen=True)
class TowerRequest:
    """A request, read.

    Attributes:
        items: of the one tower; none where the canary is asked for.
        timeout: seconds that the caller waits; None if it does not say.
        language: that of texts; "" for the model's default.
    """

    items: list[Item]
    space: str
    timeout: float | None
    canary: bool
    language: str = ""


def find(models: Models, name: str, version: str | None) -> Chosen:
    """The model of a tower: `text` and `vision` are those of the first one, `NAME:text` that of another.

    Raises:
        ApiError: there is none.
    """
    found = _TOWER.fullmatch(name)
    if found is None:
        message = (
            f"there is no tower {name[:100]!r}; there are text and vision, and NAME:text of the model NAME"
        )
        raise ApiError(404, MODEL_NOT_FOUND, message)
    model = found["model"] or next(iter(models.towers))
    return models.find(f"{model}@{version}" if version else model)


def tower_of(name: str) -> Tower:
    """Which tower a name that `find` takes is."""
    return "text" if name.endswith("text") else "vision"


def read(body: bytes, tower: Tower, max_items: int) -> TowerRequest:
    """A serialized EmbedRequest.

    Raises:
        ApiError: it is none, or holds items of another tower, none, or too many.
    """
    try:
        request = EmbedRequest.FromString(body)
    except DecodeError:
        raise malformed("the body is no serialized EmbedRequest") from None
    own, others = (request.texts, request.images) if tower == "text" else (request.images, request.texts)
    if others:
        raise malformed(f"the {tower} tower takes no {'images' if tower == 'text' else 'texts'}")
    if not own and not request.canary:
        raise ApiError(400, "empty_request", "the request must hold at least one item")
    if len(own) > max_items:
        message = f"the request holds {len(own):,} items; at most {max_items:,} are allowed"
        raise ApiError(413, "too_many_items", message)
    return TowerRequest(
        items=[] if request.canary else [_text(item) if tower == "text" else item for item in own],
        space=request.space,
        timeout=request.timeout_ms / 1000 if request.timeout_ms else None,
        canary=request.canary,
        language=request.language,
    )


async def answer(
    chosen: Chosen, request: TowerRequest, timeout: float | None = None
) -> tuple[ModelVersion, Embeddings]:
    """The vectors of a request; of a canary, after both towers gave theirs, zeros in the place of its vector.

    Args:
        timeout: seconds that the caller waits by another account.

    Raises:
        ApiError: the request fails as a whole.
    """
    if request.canary and chosen.version is None:
        try:
            await chosen.towers.check()
        except BabelclipError as error:
            raise from_client(error) from error
    limits = [limit for limit in (request.timeout, timeout) if limit is not None]
    version, outcomes = await embed(
        chosen,
        request.items,
        language=request.language,
        space=request.space,
        timeout=min(limits, default=None),
    )
    if request.canary:
        outcomes = replace(outcomes, vectors=np.zeros((1, version.dim), np.float32))
    return version, outcomes


def render(version: ModelVersion, outcomes: Embeddings, *, canary: bool = False) -> bytes:
    """A serialized EmbedResponse; that to a canary has the languages that texts may be said to be in."""
    response = EmbedResponse(
        space=version.space,
        dim=version.dim,
        logit_scale=version.logit_scale,
        version=version.version,
        vectors=np.asarray(outcomes.vectors, dtype="<f4").tobytes(),
        truncated=outcomes.truncated,
        unknown=outcomes.unknown,
        tokens=outcomes.tokens,
        languages=version.languages if canary else (),
    )
    for error in outcomes.errors:
        response.errors.add(index=error.index, code=error.code, message=error.message)
    return response.SerializeToString()


def refusal(error: ApiError) -> bytes | None:
    """A serialized EmbedResponse for a request that was refused for its own sake; None for other failures."""
    if error.status not in _OF_THE_REQUEST and error.code != CANARY_MISMATCH:
        return None
    response = EmbedResponse()
    response.error.code, response.error.message = error.code, error.message
    return response.SerializeToString()


def _text(item: bytes) -> Item:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return ItemError(0, INVALID_UTF8, "the text is not valid UTF-8")
