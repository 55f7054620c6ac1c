"""OpenAI's embeddings call: POST /predictions/MODEL/VERSION/v1/embeddings.

    {"input": "…" or ["…", …], "model": "anything", "encoding_format": "float" or "base64"}
    {"object":"list","data":[{"object":"embedding","index":0,"embedding":[…]}],"model":SPACE,
     "usage":{"prompt_tokens":n,"total_tokens":n}}

The vision tower takes images as data URIs or base64. The call has no place for the error of one item: if an
item fails, the request fails, and the message names every item at fault. A text of more tokens than the tower
takes is an error here, as it is with OpenAI, and is not cut. `model` of the response is the embedding space;
a request may insist on one by a field `space`, and say the `language` of its texts.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from handlers.config import Settings, TowerMeta
from handlers.errors import MALFORMED_REQUEST, ItemError, RequestError
from handlers.outcomes import Outcome
from handlers.protocol.dialects.base import Content, Dialect, json_value
from handlers.protocol.envelope import JSON, Envelope
from handlers.protocol.foreign import of_objects, refusal
from handlers.protocol.items import in_language, json_item
from handlers.protocol.rendering import Response, compact, json_row

TOO_MANY_TOKENS = "context_length_exceeded"
_NAMED = 5  # items at fault that a message names


class OpenAI(Dialect):
    """OpenAI's embeddings call, recognised by its address."""

    path = "v1/embeddings"

    def matches(self, envelope: Envelope) -> bool:
        """Where the address ends as OpenAI's does."""
        return envelope.path == self.path

    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        """The items of `input`, and the space that the body insists on.

        Raises:
            RequestError: the body asks for something that does not exist here.
        """
        body = json_value(envelope)
        if not isinstance(body, dict) or "input" not in body:
            foreign = isinstance(body, dict) and "inputs" not in body and "instances" not in body
            said = f"; {refusal(body)}" if foreign else ""
            raise RequestError(MALFORMED_REQUEST, f'the JSON body must be an object with "input"{said}')
        inputs, space, language = body["input"], body.get("space"), body.get("language")
        if isinstance(inputs, str):
            inputs = [inputs]
        if not isinstance(inputs, list):
            raise RequestError(MALFORMED_REQUEST, '"input" must be a string or a list of strings')
        if any(isinstance(item, int | float | list) for item in inputs):
            raise RequestError(
                MALFORMED_REQUEST,
                '"input" holds lists or numbers; send strings: token ids would be of another tokenizer',
            )
        if of_objects(inputs):
            raise RequestError(
                MALFORMED_REQUEST,
                '"input" holds objects, as Jina\'s call has them; send strings: a text, or an image as data'
                " URI",
            )
        if body.get("encoding_format") not in (None, "float", "base64"):
            raise RequestError(MALFORMED_REQUEST, '"encoding_format" must be "float" or "base64"')
        if body.get("dimensions") not in (None, meta.dim):
            raise RequestError(
                MALFORMED_REQUEST, f'"dimensions" must be {meta.dim} or absent: vectors are not shortened'
            )
        for name, value in (("space", space), ("language", language)):
            if value is not None and not isinstance(value, str):
                raise RequestError(MALFORMED_REQUEST, f'"{name}" must be a string')
        if len(inputs) > settings.max_items:
            return Content(inputs)
        items = [json_item(item, meta.tower, settings) for item in inputs]
        return Content(in_language(items, language or "", meta.languages), space or "")

    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        """An embedding per item, in their order; where items failed, the error that names them."""
        in_base64 = envelope.fields.get("encoding_format") == "base64"
        data, failed, tokens = [], [], 0
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, ItemError):
                failed.append((index, outcome.code, outcome.message, outcome.status))
                continue
            if outcome.truncated and meta.text is not None:
                limit = meta.text.max_tokens
                message = f"the text has {outcome.tokens} tokens; this model takes at most {limit}"
                failed.append((index, TOO_MANY_TOKENS, message, 400))
                continue
            tokens += outcome.tokens
            if in_base64:
                row = f'"{base64.b64encode(np.asarray(outcome.vector, dtype="<f4").tobytes()).decode()}"'
            else:
                row = json_row(outcome.vector)
            data.append(f'{{"object":"embedding","index":{index},"embedding":{row}}}')
        if failed:
            _, code, _, status = failed[0]
            named = "; ".join(f"input[{index}]: {message}" for index, _, message, _ in failed[:_NAMED])
            more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
            return _error(code, named + more, status, "input")
        usage = compact({"prompt_tokens": tokens, "total_tokens": tokens})
        model = compact(meta.space)
        body = f'{{"object":"list","data":[{",".join(data)}],"model":{model},"usage":{usage}}}'
        return Response(body.encode(), JSON)

    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        """OpenAI's form of an error."""
        return _error(error.code, error.message, error.status, None)


def _error(code: str, message: str, status: int, parameter: str | None) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": parameter, "code": code}
    return Response(compact({"error": error}).encode(), JSON, status)
