"""Files of a form (multipart/form-data): what a page sends whose users pick or drop photographs."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from gateway.collections.messages import NewItem
from gateway.collections.uploads import SOURCE
from gateway.errors import ApiError, malformed
from gateway.http import body

FORM = "multipart/form-data"
_MAX_FIELD = 65_536
_MAX_FIELDS = 8
_NAME = 200  # characters of a file's name that are kept
_UNSAID = re.compile(r"[\x00-\x1f\x7f/\\]")


async def read(request: Request, *, max_items: int, max_bytes: int) -> list[tuple[str, NewItem]]:
    """The parts `file` of a form, each by the name that the caller gave it; a part `metadata` is of them all.

    Files beyond a megabyte wait on the disk, without a name, until they are read.

    Raises:
        ApiError: the form is none, or has too many bytes or parts.
        CallerGone: it ended early.
    """
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise _too_large(max_bytes)
        return message

    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    counting = Request(request.scope, counted)
    try:
        async with counting.form(
            max_files=max_items, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD
        ) as form:
            files = form.getlist("file")
            if extra := set(form) - {"file", "metadata", "caption"}:
                named = min(extra)[:32]
                raise malformed(f"the form has parts file, caption and metadata, and no {named!r}")
            if not files:
                raise ApiError(400, "empty_request", 'the form must hold at least one part "file"')
            metadata = _metadata(form.get("metadata"))
            caption = form.get("caption") or ""
            if not isinstance(caption, str):
                raise malformed('"caption" must be a text', "caption")
            return [await _item(file, caption, metadata) for file in files]
    except (HTTPException, MultiPartException) as error:
        message = error.detail if isinstance(error, HTTPException) else error.message
        raise malformed(f"the body is no form: {message[:200]}") from None
    except ClientDisconnect:
        raise body.CallerGone from None


def name_of(sent: str | None) -> str:
    """What is kept of a file's name: the last part of a path, without what no name has."""
    plain = re.split(r"[/\\]", sent or "")[-1]
    plain = _UNSAID.sub("", plain).encode("utf-8", "replace").decode()
    return plain[:_NAME] or "image"


async def _item(file: UploadFile | str, caption: str, metadata: dict[str, Any]) -> tuple[str, NewItem]:
    if isinstance(file, str):
        raise malformed('a part "file" must have a file name', "file")
    name = name_of(file.filename)
    data = await file.read()
    return name, NewItem(data, source=f"{SOURCE}{name}", caption=caption, metadata=metadata, keep=True)


def _metadata(sent: UploadFile | str | None) -> dict[str, Any]:
    if sent is None or sent == "":
        return {}
    found = body.parse(sent.encode("utf-8", "surrogatepass")) if isinstance(sent, str) else None
    if not isinstance(found, dict):
        raise malformed('"metadata" must be a JSON object', "metadata")
    return found


def _too_large(max_bytes: int) -> ApiError:
    message = f"the body has too many bytes; at most {max_bytes:,} are allowed"
    return ApiError(413, "body_too_large", message)
