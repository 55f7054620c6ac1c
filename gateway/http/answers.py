"""Answers over HTTP: JSON, and errors in the form of the dialect whose address was called.

An address of no other dialect has OpenAI's form, which most clients of embeddings read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import ApiError
from gateway.http.dialects import cohere, inference, kserve, openai

JSON = "application/json"
_log = logging.getLogger(__name__)
_CODES = {404: "unknown_path", 405: "method_not_allowed"}


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body that is JSON already."""
    return Response(body, status, headers, JSON)


def refusal(error: ApiError, headers: dict[str, str] | None = None, *, path: str = "") -> Response:
    """The answer to a request to `path` that fails as a whole."""
    given = dict(headers or {})
    if error.retry_after is not None:
        given["Retry-After"] = str(error.retry_after)
    return json_response(_error_body(path)(error), error.status, given)


def _error_body(path: str) -> Callable[[ApiError], bytes]:
    if path in cohere.PATHS:
        return cohere.error_body
    if path == "/v2" or path.startswith("/v2/"):
        return inference.error_body
    if path.endswith(":predict"):
        return kserve.error_body
    return openai.error_body


async def of_api_error(request: Request, error: Exception) -> Response:
    """For Starlette: an `ApiError` that a route raised."""
    assert isinstance(error, ApiError)
    if error.__cause__ is not None:
        _log.warning("%s %s: %s", request.method, request.url.path, error.__cause__)
    return refusal(error, path=request.url.path)


async def of_http_error(request: Request, error: Exception) -> Response:
    """For Starlette: an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    if error.status_code == 405:
        message = f"this address takes {error.headers['Allow'] if error.headers else 'other methods'} alone"
    else:
        message = "there is nothing at this address; /docs lists what there is"
    refused = ApiError(error.status_code, code, message)
    return refusal(refused, dict(error.headers or {}), path=request.url.path)


async def only_post(request: Request) -> Response:
    """For an address whose GET a longer name would take otherwise.

    Raises:
        HTTPException: always: 405.
    """
    raise HTTPException(405, headers={"Allow": "POST"})


async def of_failure(request: Request, error: Exception) -> Response:
    """For Starlette: a mistake of ours. uvicorn logs all of it, the caller is told nothing of how it was."""
    answer = ApiError(500, "internal", "an unexpected failure of the gateway; its log says more")
    return refusal(answer, path=request.url.path)
