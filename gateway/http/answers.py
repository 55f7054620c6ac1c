"""Answers over HTTP: JSON, and errors in OpenAI's form, which most clients of embeddings read."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.http import openai

JSON = "application/json"
_log = logging.getLogger(__name__)
_CODES = {404: "unknown_path", 405: "method_not_allowed"}


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body that is JSON already."""
    return Response(body, status, headers, JSON)


def refusal(error: ApiError, headers: dict[str, str] | None = None) -> Response:
    """The answer to a request that fails as a whole."""
    given = dict(headers or {})
    if error.retry_after is not None:
        given["Retry-After"] = str(error.retry_after)
    return json_response(openai.error_body(error), error.status, given)


async def of_api_error(request: Request, error: Exception) -> Response:
    """For Starlette: an `ApiError` that a route raised."""
    assert isinstance(error, ApiError)
    if error.__cause__ is not None:
        _log.warning("%s %s: %s", request.method, request.url.path, error.__cause__)
    return refusal(error)


async def of_http_error(request: Request, error: Exception) -> Response:
    """For Starlette: an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    if error.status_code == 405:
        message = f"this address takes {error.headers['Allow'] if error.headers else 'other methods'} alone"
    else:
        message = "there is nothing at this address; /docs lists what there is"
    return refusal(ApiError(error.status_code, code, message), dict(error.headers or {}))


async def of_failure(request: Request, error: Exception) -> Response:
    """For Starlette: a mistake of ours. uvicorn logs all of it, the caller is told nothing of how it was."""
    return refusal(ApiError(500, "internal", "an unexpected failure of the gateway; its log says more"))
