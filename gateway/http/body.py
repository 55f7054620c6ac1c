"""The body of a request: no larger and no slower than is allowed, and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request

from gateway.errors import ApiError, malformed
from gateway.http import compression
from gateway.http.room import PLACE

# Above this what is to be done with bytes is done in a thread, so that other requests go on meanwhile.
_LARGE = 256 * 1024
# A value of three bytes takes seventy when it is read, and no request needs many: texts and images are long.
_MOST_VALUES = 250_000

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class CallerGone(Exception):
    """The caller hung up before its answer; there is nobody to tell."""


async def read(
    request: Request,
    *,
    max_bytes: int,
    timeout: float,
    kind: str = "application/json",
    binary: bool = False,
) -> bytes:
    """The body of a request with JSON, or another kind of content.

    Args:
        kind: the media type of the content.
        binary: whether bytes may follow the JSON, whose type is then application/octet-stream.

    Raises:
        ApiError: it is of another type, too large, too slow, or compressed in a way that is not read.
        CallerGone: it ended early.
    """
    sent = request.headers.get("content-type", kind).partition(";")[0].strip().lower()
    is_other_json = kind == "application/json" and sent.startswith("application/") and sent.endswith("+json")
    if sent != kind and not is_other_json and not (binary and sent == "application/octet-stream"):
        raise ApiError(415, "unsupported_media_type", f"the body must be sent as Content-Type: {kind}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and not compression.is_known(encoding):
        message = f"the body must be sent uncompressed, or as {compression.names()}"
        raise ApiError(415, "unsupported_media_type", message)
    try:
        data = await within(timeout, _read(request, max_bytes))
    except ClientDisconnect:
        raise CallerGone from None
    if encoding == "identity":
        return data
    # A packed byte may be a thousand.
    unpacked = await apart(len(data) * 1000, compression.unpack, data, encoding, max_bytes)
    if (place := PLACE.get()) is not None:
        place.take(len(unpacked))
    return unpacked


async def within(timeout: float, reading: Coroutine[Any, Any, Result]) -> Result:
    """What reading a body returns.

    Raises:
        ApiError: it did not arrive within so many seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            return await reading
    except TimeoutError:
        message = f"the body did not arrive within {timeout:g} s"
        raise ApiError(408, "request_timeout", message) from None


async def apart(
    size: int, work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """What `work` returns; it is called in a thread where its `size` in bytes would keep others waiting."""
    if size > _LARGE:
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)


async def while_there(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns, which is given up when the caller hangs up. The body must have been read.

    Raises:
        CallerGone: the caller hung up.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    parts = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
    return b"".join(parts)


def parse(data: bytes) -> Any:
    """JSON.

    Raises:
        ApiError: it is none, or holds so many values that they would fill the memory.
    """
    if data.count(b",") > _MOST_VALUES and _commas_outside_strings(data) > _MOST_VALUES:
        message = f"the body holds too many values; at most {_MOST_VALUES:,} are allowed"
        raise ApiError(413, "body_too_large", message)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass  # The slower parser takes some texts that this one does not, and says better what is wrong.
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise malformed("the body is not UTF-8") from None
    except RecursionError:
        raise malformed("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise malformed(f"the body is no JSON: {error}") from None
    except ValueError as error:  # a number of thousands of digits, or no number
        raise malformed(f"the body is no JSON: {str(error)[:100]}") from None


def _commas_outside_strings(data: bytes) -> int:
    """The commas between values of JSON, or more than are allowed; the time grows with the bytes alone."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * _MOST_VALUES:
        return _MOST_VALUES + 1
    return sum(part.count(b",") for part in plain.split(b'"')[::2])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _too_large(max_bytes: int) -> ApiError:
    message = f"the body has too many bytes; at most {max_bytes:,} are allowed"
    return ApiError(413, "body_too_large", message)
