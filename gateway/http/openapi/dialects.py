"""The calls of Cohere, the Open Inference Protocol, KServe and `babelclip.Client` in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
_STRING: Schema = {"type": "string"}
_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
_LANGUAGE: Schema = {
    "type": "string",
    "maxLength": 64,
    "description": "that of the texts, by BCP 47, for a model that is told it; others pass it over",
}
_SPACE: Schema = {"type": "string", "description": "the embedding space of the vectors"}
_IMAGE: Schema = {"type": "string", "description": "data:image/…;base64,…, or base64; nothing is fetched"}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": _STRING}
_TOWER = {
    "name": "tower",
    "in": "path",
    "required": True,
    "schema": _STRING,
    "description": "text or vision, of the first model; or MODEL:text, MODEL:vision",
}
_OF_VERSION = "/v2/models/{model}/versions/{version}"
_VERSION = {"name": "version", "in": "path", "required": True, "schema": _STRING}


def paths(max_items: int, errors: Mapping[str, str]) -> dict[str, Any]:
    """The paths of these dialects.

    Args:
        errors: what the statuses of errors mean.
    """
    cohere, sentence = _object(message=_STRING, code=_STRING), _object(error=_STRING, code=_STRING)
    found: dict[str, Any] = {}
    for path, summary in (
        ("/v2/embed", "Embed texts or images: Cohere's call"),
        ("/v1/embed", "Embed texts or images: Cohere's older call"),
    ):
        answer = _cohere_answer(by_type=path == "/v2/embed")
        found[path] = _post(summary, _cohere_request(max_items), answer, cohere, errors)
    found["/v1/models/{model}:predict"] = _post(
        "Embed texts and images: KServe's V1 protocol",
        _kserve_request(max_items),
        _kserve_answer(),
        sentence,
        errors,
        _MODEL,
    )
    found["/v2"] = _get("The server, for the Open Inference Protocol", "401")
    for probe, meaning in (("live", "Whether the process answers"), ("ready", "The same as /readyz")):
        found[f"/v2/health/{probe}"] = {
            "get": {
                "summary": f"{meaning}, for the Open Inference Protocol",
                "responses": {"200": {"description": "Yes."}, "503": {"description": "Not so."}},
            }
        }
    for path, named in (("/v2/models/{model}", (_MODEL,)), (_OF_VERSION, (_MODEL, _VERSION))):
        found[path] = _get("The inputs and outputs of a model", "401", "404", parameters=named)
        found[f"{path}/ready"] = _get("Whether a model embeds", "401", "404", "503", parameters=named)
        found[f"{path}/infer"] = _post(
            "Embed texts and images: the Open Inference Protocol, with its binary tensors",
            _infer_request(),
            _infer_answer(),
            sentence,
            errors,
            *named,
        )
    for path, versioned in (("/predictions/{tower}", ()), ("/predictions/{tower}/{version}", (_VERSION,))):
        found[path] = _predictions(errors, _TOWER, *versioned)
    return found


def _predictions(errors: Mapping[str, str], *named: Schema) -> Schema:
    """Of a binary protocol, which has a form of its own for refusals as well."""
    serialized = {"content": {"application/x-protobuf": {"schema": {"type": "string", "format": "binary"}}}}
    call = {
        "summary": "Embed texts or images: babelclip.Client's call, in the messages of embedding.proto",
        "security": [{"key": []}],
        "parameters": list(named),
        "requestBody": {"required": True, "description": "An EmbedRequest.", **serialized},
        "responses": {
            "200": {"description": "An EmbedResponse.", **serialized},
            **{status: {"description": text} for status, text in errors.items()},
        },
    }
    return {"post": call}


def _post(
    summary: str, request: Schema, answer: Schema, error: Schema, errors: Mapping[str, str], *named: Schema
) -> Schema:
    refusals = {status: {"description": text, **_json(error)} for status, text in errors.items()}
    call = {
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {"required": True, **_json(request)},
        "responses": {"200": {"description": "The vectors.", **_json(answer)}, **refusals},
    }
    return {"post": {**call, **({"parameters": list(named)} if named else {})}}


def _get(summary: str, *statuses: str, parameters: tuple[Schema, ...] = ()) -> Schema:
    refusals = {status: {"description": "Not so."} for status in statuses}
    call: Schema = {
        "summary": summary,
        "security": [{"key": []}],
        "responses": {"200": {"description": "JSON"}, **refusals},
    }
    return {"get": {**call, **({"parameters": list(parameters)} if parameters else {})}}


def _cohere_request(max_items: int) -> Schema:
    def listed(item: Schema) -> Schema:
        return {"type": "array", "items": item, "minItems": 1, "maxItems": max_items}

    part = {
        "oneOf": [
            _object(type={"const": "text"}, text=_STRING),
            _object(type={"const": "image_url"}, image_url=_object(url=_IMAGE)),
        ]
    }
    content = {"type": "array", "items": part, "minItems": 1, "maxItems": 1}
    fields = _object(
        model={"type": "string", "description": "NAME or NAME@VERSION; the first model if absent"},
        texts=listed(_STRING),
        images=listed(_IMAGE),
        inputs=listed(_object(content=content)),
        input_type={"type": "string", "description": "passed over: a text has one vector"},
        embedding_types={"type": "array", "items": {"enum": ["float", "base64"]}},
        output_dimension={"type": "integer", "description": "that of the model, or absent"},
        truncate={"enum": ["END", "NONE", "START"], "description": "START is an error for a long text"},
        space={"type": "string", "description": "refuse the request unless the model is of this space"},
        errors={"enum": ["raise", "return"], "description": "return: null for an item that fails"},
    )
    return {**fields, "oneOf": [{"required": [field]} for field in ("texts", "images", "inputs")]}


def _cohere_answer(*, by_type: bool) -> Schema:
    vectors: Schema = {"type": "array", "items": _NUMBERS}
    typed = _object(float=vectors, base64={"type": "array", "items": _STRING})
    return _object(
        id=_STRING,
        response_type={"enum": ["embeddings_by_type"] + ([] if by_type else ["embeddings_floats"])},
        embeddings=typed if by_type else {"oneOf": [typed, vectors]},
        texts={"type": "array", "items": _STRING},
        model={"type": "string", "description": "NAME@VERSION that answered"},
        space=_SPACE,
        dim={"type": "integer"},
        logit_scale={"type": "number"},
        errors={"type": "array", "items": _item_error()},
    )


def _kserve_request(max_items: int) -> Schema:
    instance = {
        "oneOf": [
            {"type": "string", "description": "a text, or an image as data URI"},
            _object(text=_STRING),
            _object(image=_object(b64=_STRING)),
            _object(b64=_STRING),
        ]
    }
    listed = {"type": "array", "items": instance, "minItems": 1, "maxItems": max_items}
    return {**_object(instances=listed, space=_STRING, language=_LANGUAGE), "required": ["instances"]}


def _kserve_answer() -> Schema:
    rows = {"type": "array", "items": {"oneOf": [_NUMBERS, {"type": "null"}]}}
    failed = {"type": "array", "items": _item_error()}
    return _object(predictions=rows, errors=failed, model=_STRING, space=_SPACE, dim={"type": "integer"})


def _infer_request() -> Schema:
    tensor = _object(
        name={"enum": ["text", "image"]},
        datatype={"const": "BYTES"},
        shape={"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        data={"type": "array", "items": _STRING},
        parameters=_object(binary_data_size={"type": "integer"}),
    )
    names = [f"{name}_{kind}" for name in ("text", "image") for kind in ("embedding", "error")]
    output = _object(name={"enum": names}, parameters=_object(binary_data={"type": "boolean"}))
    parameters = _object(
        space=_STRING,
        language=_LANGUAGE,
        truncate={"type": "boolean"},
        timeout={"type": "integer", "description": "microseconds"},
        binary_data_output={"type": "boolean"},
    )
    fields = _object(
        id=_STRING,
        inputs={"type": "array", "items": tensor, "minItems": 1, "maxItems": 2},
        outputs={"type": "array", "items": output},
        parameters=parameters,
    )
    return {**fields, "required": ["inputs"]}


def _infer_answer() -> Schema:
    output = _object(
        name=_STRING,
        datatype={"enum": ["FP32", "BYTES"]},
        shape={"type": "array", "items": {"type": "integer"}},
        data={"type": "array", "items": {"type": ["number", "string"]}},
        parameters=_object(binary_data_size={"type": "integer"}),
    )
    return _object(
        id=_STRING,
        model_name=_STRING,
        model_version=_STRING,
        parameters=_object(space=_SPACE, logit_scale={"type": "number"}),
        outputs={"type": "array", "items": output},
    )


def _item_error() -> Schema:
    return _object(index={"type": "integer"}, code=_STRING, message=_STRING)


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}
