"""The Open Inference Protocol's call, `POST /v2/models/NAME[/versions/VERSION]/infer`.

    {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["…", "…"]},
                {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["base64 or data URI"]}],
     "outputs": [{"name": "text_embedding"}, …],
     "parameters": {"space": "…", "language": "bn", "truncate": true}}

    {"model_name": "clip", "model_version": "1.0", "parameters": {"space": "…", "logit_scale": 100.0},
     "outputs": [{"name": "text_embedding", "datatype": "FP32", "shape": [2, 512], "data": […]}, …]}

Either input may be absent. Both ways may be binary (`gateway.http.dialects.binary_tensors`); an element of a
binary `image` is the image file itself. If an item fails, the request fails, unless the request names the
output `text_error` or `image_error`: BYTES, a sentence for each item that failed, whose vector is then zeros,
and an empty one for the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from babelclip import Embeddings, ItemError
from babelclip.embeddings import Vectors
from gateway.errors import malformed
from gateway.http.body import parse
from gateway.http.dialects.binary_tensors import HEADER, split, write_elements
from gateway.http.dialects.dialect import (
    EmbedRequest,
    body_object,
    failed_items,
    failure,
    field_of,
    sentence_body,
)
from gateway.http.dialects.tensors import INPUTS, Input, name_of, parameters_of, read_inputs, tensors_of
from gateway.towers.base import ModelVersion

error_body = sentence_body
_LONGEST = 24 * 3600 * 1_000_000  # microseconds
_CUT = 'the text has more tokens than the model takes; shorten it, or send the parameter "truncate": true'


@dataclass(frozen=True)
class InferRequest(EmbedRequest):
    """A request, read.

    Attributes:
        id: what the caller calls it; None for nothing.
        inputs: by their names, "text" or "image".
        outputs: those that are asked for, and whether in binary, in their order.
        truncate: a text that is too long is cut.
    """

    id: str | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, bool] = field(default_factory=dict)
    truncate: bool = False


@dataclass(frozen=True)
class InferAnswer:
    """An answer: its body, and how much of it is JSON where there are bytes behind."""

    body: bytes
    json_bytes: int | None

    @property
    def headers(self) -> dict[str, str]:
        """Those that the protocol wants."""
        return {} if self.json_bytes is None else {HEADER: str(self.json_bytes)}


def read(body: bytes, header: str | None, max_items: int, model: str) -> InferRequest:
    """The body of a request for a model.

    Args:
        header: that of `binary_tensors.HEADER`, None for none.

    Raises:
        ApiError: the body as a whole is none of this call, or asks for what is not to be had.
    """
    text, behind = split(body, header)
    asked = body_object(parse(text))
    parameters = parameters_of(asked)
    inputs, found = read_inputs(asked, behind, max_items)
    return InferRequest(
        model=model,
        items=found,
        space=field_of(parameters, "space", str, "a string", ""),
        timeout=_seconds(parameters),
        language=field_of(parameters, "language", str, "a string", ""),
        id=_id(asked),
        inputs=inputs,
        outputs=_outputs(asked, parameters, inputs),
        truncate=field_of(parameters, "truncate", bool, "true or false", False),
    )


def render(request: InferRequest, name: str, version: ModelVersion, outcomes: Embeddings) -> InferAnswer:
    """The answer.

    Raises:
        ApiError: an item failed, and the output that would have its error was not asked for.
    """
    errors = failed_items(outcomes, None if request.truncate else _CUT)
    vectors = np.array(outcomes.vectors, dtype="<f4")
    vectors[list(errors)] = 0.0
    for tensor in request.inputs.values():
        within = [errors[index] for index in errors if 0 <= index - tensor.start < tensor.count]
        if within and f"{tensor.name}_error" not in request.outputs:
            raise failure(within, tensor.named, tensor.name)
    described, behind = [], []
    for name_of_output, in_binary in request.outputs.items():
        facts, data = _output(name_of_output, request, vectors, errors, in_binary)
        described.append(facts)
        behind.append(data)
    answer = {
        "model_name": name,
        "model_version": version.version,
        **({} if request.id is None else {"id": request.id}),
        "parameters": {"space": version.space, "logit_scale": version.logit_scale},
        "outputs": described,
    }
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return InferAnswer(b"".join((text, *behind)), len(text) if any(request.outputs.values()) else None)


def _output(
    name: str,
    request: InferRequest,
    vectors: Vectors,
    errors: Mapping[int, ItemError],
    in_binary: bool,
) -> tuple[dict[str, Any], bytes]:
    """One output: what the JSON says of it, and its bytes behind the JSON, none where the JSON holds it."""
    kind = name.partition("_")[0]
    start, count = request.inputs[kind].start, request.inputs[kind].count
    if name.endswith("_error"):
        said = [errors[index].message if index in errors else "" for index in range(start, start + count)]
        facts: dict[str, Any] = {"name": name, "datatype": "BYTES", "shape": [count]}
        if not in_binary:
            return {**facts, "data": said}, b""
        data = write_elements(sentence.encode() for sentence in said)
    else:
        rows = vectors[start : start + count]
        facts = {"name": name, "datatype": "FP32", "shape": list(rows.shape)}
        if not in_binary:
            return {**facts, "data": rows.reshape(-1)}, b""
        data = rows.tobytes()
    return {**facts, "parameters": {"binary_data_size": len(data)}}, data


def describe(name: str, version: ModelVersion, versions: list[str]) -> bytes:
    """The metadata of a model: its tensors, and the versions that are known."""
    inputs = [{"name": tensor, "datatype": "BYTES", "shape": [-1]} for tensor in INPUTS]
    outputs = [
        described
        for tensor in INPUTS
        for described in (
            {"name": f"{tensor}_embedding", "datatype": "FP32", "shape": [-1, version.dim]},
            {"name": f"{tensor}_error", "datatype": "BYTES", "shape": [-1]},
        )
    ]
    parameters = {"space": version.space, "logit_scale": version.logit_scale}
    facts = {"name": name, "versions": versions, "platform": "babelclip", "inputs": inputs}
    return json.dumps({**facts, "outputs": outputs, "parameters": parameters}).encode()


def _id(asked: Mapping[str, Any]) -> str | None:
    found: str | None = field_of(asked, "id", str, "a string", None)
    if found is not None and any("\ud800" <= letter <= "\udfff" for letter in found):
        raise malformed('"id" must be Unicode', "id")
    return found


def _seconds(parameters: Mapping[str, Any]) -> float | None:
    """Triton's `timeout`, which is in microseconds."""
    timeout = field_of(parameters, "timeout", int, "a number of microseconds", None)
    return min(timeout, _LONGEST) / 1e6 if timeout is not None and timeout > 0 else None


def _outputs(
    asked: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Mapping[str, Input]
) -> dict[str, bool]:
    default = field_of(parameters, "binary_data_output", bool, "true or false", False)
    tensors = tensors_of(asked, "outputs")
    if not tensors:
        return {f"{name}_embedding": default for name in inputs}
    allowed = tuple(f"{name}_{kind}" for name in inputs for kind in ("embedding", "error"))
    found: dict[str, bool] = {}
    for tensor in tensors:
        name = name_of(tensor, allowed, found)
        own = parameters_of(tensor)
        if own.get("classification"):
            raise malformed("outputs are vectors, and no classes; leave classification out", name)
        found[name] = field_of(own, "binary_data", bool, "true or false", default)
    return found
