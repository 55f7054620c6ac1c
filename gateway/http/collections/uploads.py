"""Files of a form (multipart/form-data): what a page sends whose users pick or drop photographs."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
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
        form = await _Parser(
            counting.headers,
            counting.stream(),
            max_files=max_items,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD,
        ).parse()
    except MultiPartException as error:
        raise malformed(f"the body is no form: {error.message[:200]}") from None
    except UnicodeError:  # Some of Python's codecs that a form may name raise nothing more exact.
        raise malformed("a text of the form is not in the charset that the form names") from None
    except ClientDisconnect:
        raise body.CallerGone from None
    try:
        return await _items(form)
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's, which takes a form without an end for a whole one, without its last part."""

    _has_ended = False

    def on_end(self) -> None:
        """The boundary after which there are no more parts."""
        self._has_ended = True

    async def parse(self) -> FormData:
        """The parts of a whole form.

        Raises:
            MultiPartException: it is none.
        """
        form = await super().parse()
        if not self._has_ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("it ends too early")
        return form


async def _items(form: FormData) -> list[tuple[str, NewItem]]:
    files = form.getlist("file")
    if extra := set(form) - {"file", "metadata", "caption"}:
        raise malformed(f"the form has parts file, caption and metadata, and no {min(extra)[:32]!r}")
    if not files:
        raise ApiError(400, "empty_request", 'the form must hold at least one part "file"')
    metadata = _metadata(form.get("metadata"))
    caption = form.get("caption") or ""
    if not isinstance(caption, str):
        raise malformed('"caption" must be a text', "caption")
    return [await _item(file, caption, metadata) for file in files]


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
