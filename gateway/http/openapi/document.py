"""The calls as an OpenAPI document, and as a page that needs no script and no other host."""

from __future__ import annotations

import html
import json
from typing import Any

from gateway.http import admin
from gateway.http.openapi import collections, dialects
from gateway.http.openapi.scoring import SCORING, Call
from gateway.settings import Settings

Schema = dict[str, Any]
_STRING: Schema = {"type": "string"}
_ERRORS = {
    "400": "The request, or an item of it, is wrong; `code` and `message` say how.",
    "401": "No key, or a wrong one; WWW-Authenticate says which.",
    "403": "The key may not make this call.",
    "404": "There is no such model, version or address.",
    "409": "The model is of another embedding space than the request insists on.",
    "413": "Too many bytes or items.",
    "415": "The body is no JSON by its type, or compressed otherwise than by gzip or deflate.",
    "429": "Too much for the key, or for the model; Retry-After says when to try again.",
    "503": "The model is not ready or has no room; Retry-After says when to try again.",
    "504": "The model gave no answer in time.",
}


def describe(settings: Settings) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the calls with this gateway's limits."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "babelclip gateway",
            "version": "1",
            "description": "Texts in many languages and images as vectors of one space. Vectors with"
            " different values of `space` are never comparable.",
        },
        "paths": {
            "/v1/embeddings": {
                "post": {
                    "summary": "Embed texts and images: OpenAI's call, with the inputs of Jina, SGLang,"
                    " vLLM and Infinity",
                    "security": [{"key": []}],
                    "requestBody": {"required": True, **_json(_embeddings_request(settings))},
                    "responses": {
                        "200": {"description": "A vector per item.", **_json(_embeddings_answer())},
                        **{status: _error(text) for status, text in _ERRORS.items()},
                    },
                }
            },
            **{path: _scoring(call, settings) for path, call in SCORING.items()},
            "/v1/models": {"get": _get("The models, with version, space, dimension and limits", "401")},
            "/v1/models/{model}": {
                "get": {
                    **_get("One model, NAME or NAME@VERSION", "401", "404"),
                    "parameters": [{"name": "model", "in": "path", "required": True, "schema": _STRING}],
                }
            },
            **dialects.paths(settings.max_items, _ERRORS),
            **(collections.paths(settings.max_items, _ERRORS) if settings.collections else {}),
            **admin.describe(),
            "/healthz": {"get": _open("Whether the gateway's process answers")},
            "/livez": {"get": _open("The same as /healthz")},
            "/readyz": {"get": _open("Whether both towers of every model embed their golden items", "503")},
            "/openapi.json": {"get": _open("This document")},
            "/docs": {"get": _open("This document as a page")},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error_schema()},
        },
    }


def page(document: dict[str, Any]) -> str:
    """The document as one page of HTML."""
    calls = []
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            calls.append(
                f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(call['summary'])}</p>"
            )
            content = call.get("requestBody", {}).get("content", {})
            for media in content.values():
                calls.append(f"<h3>Body</h3><pre>{_shown(media['schema'])}</pre>")
            calls.append("<h3>Answers</h3><ul>")
            for status, answer in call["responses"].items():
                calls.append(f"<li><b>{status}</b> {html.escape(answer['description'])}")
                for media in answer.get("content", {}).values() if status == "200" else ():
                    calls.append(f"<pre>{_shown(media['schema'])}</pre>")
                calls.append("</li>")
            calls.append("</ul>")
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(info["title"])}</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "pre{background:#f4f4f4;padding:1em;overflow:auto}</style>"
        f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"
        f'<p>For programs: <a href="openapi.json">openapi.json</a></p>{"".join(calls)}</html>'
    )


def _shown(schema: Schema) -> str:
    return html.escape(json.dumps(schema, indent=2))


def _scoring(call: Call, settings: Settings) -> Schema:
    return {
        "post": {
            "summary": call.summary,
            "security": [{"key": []}],
            "requestBody": {"required": True, **_json(call.request(settings.max_items))},
            "responses": {
                "200": {"description": call.answers, **_json(call.answer)},
                **{status: _error(text) for status, text in _ERRORS.items()},
            },
        }
    }


def _embeddings_request(settings: Settings) -> Schema:
    fetched = "or the address of an allowed host" if settings.image_url_hosts else "nothing is fetched"
    image = {"type": "string", "description": f"base64, or data:image/…;base64,…; {fetched}"}
    item = {
        "oneOf": [
            {"type": "string", "description": "a text, or an image as data URI"},
            {"type": "object", "properties": {"text": _STRING}, "required": ["text"]},
            {"type": "object", "properties": {"image": image}, "required": ["image"]},
        ]
    }
    parts = {
        "oneOf": [
            {"type": "object", "properties": {"type": {"const": "text"}, "text": _STRING}},
            {
                "type": "object",
                "properties": {
                    "type": {"const": "image_url"},
                    "image_url": {"type": "object", "properties": {"url": image}, "required": ["url"]},
                },
            },
        ]
    }
    content = {"oneOf": [_STRING, {"type": "array", "items": parts, "minItems": 1, "maxItems": 1}]}
    message = {"type": "object", "properties": {"role": _STRING, "content": content}}
    fields: Schema = {
        "model": {"type": "string", "description": "NAME or NAME@VERSION; the first model if absent"},
        "input": {
            "oneOf": [item, {"type": "array", "items": item, "minItems": 1, "maxItems": settings.max_items}]
        },
        "messages": {"type": "array", "items": message, "minItems": 1, "maxItems": 1},
        "modality": {"enum": ["text", "image"], "description": "what the strings of input are"},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": {"type": "integer", "description": "that of the model, or absent"},
        "space": {"type": "string", "description": "refuse the request unless the model is of this space"},
        "language": {
            "type": "string",
            "maxLength": 64,
            "description": "that of the texts, by BCP 47, for a model that is told it; others pass it over",
        },
        "truncate": {
            "type": "boolean",
            "description": "cut texts that are too long instead of refusing them",
        },
        "errors": {
            "enum": ["raise", "return"],
            "description": "return: an item that fails has an error in its place, others their vectors",
        },
    }
    alternatives = [{"required": ["input"]}, {"required": ["messages"]}]
    return {"type": "object", "properties": fields, "oneOf": alternatives}


def _embeddings_answer() -> Schema:
    row = {
        "type": "object",
        "properties": {
            "object": {"const": "embedding"},
            "index": {"type": "integer"},
            "embedding": {
                "oneOf": [{"type": "array", "items": {"type": "number"}}, _STRING, {"type": "null"}]
            },
            "error": {"type": "object", "properties": {"code": _STRING, "message": _STRING}},
        },
    }
    return {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": row},
            "model": {"type": "string", "description": "NAME@VERSION that answered"},
            "space": {"type": "string", "description": "the embedding space of the vectors"},
            "dim": {"type": "integer"},
            "logit_scale": {"type": "number"},
            "truncated": {"type": "array", "items": {"type": "integer"}},
            "unknown": {"type": "array", "items": {"type": "integer"}},
            "usage": {
                "type": "object",
                "description": "tokens of the texts before any was cut; 0 for images",
                "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
            },
        },
    }


def _error_schema() -> Schema:
    nullable = {"type": ["string", "null"]}
    fields = {"message": _STRING, "type": _STRING, "param": nullable, "code": _STRING}
    return {"type": "object", "properties": {"error": {"type": "object", "properties": fields}}}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _error(text: str) -> Schema:
    return {"description": text, **_json({"$ref": "#/components/schemas/Error"})}


def _get(summary: str, *statuses: str) -> Schema:
    refusals = {status: _error(_ERRORS[status]) for status in statuses}
    return {
        "summary": summary,
        "security": [{"key": []}],
        "responses": {"200": {"description": "JSON"}, **refusals},
    }


def _open(summary: str, *statuses: str) -> Schema:
    others = {status: {"description": "Not so."} for status in statuses}
    return {"summary": summary, "responses": {"200": {"description": "Yes, or the document."}, **others}}
