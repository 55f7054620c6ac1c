"""Thumbnails and originals of items, as browsers and their caches want them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from gateway.collections.contents import Contents
from gateway.collections.service import THUMBNAIL, Collections
from gateway.errors import ITEM_NOT_FOUND, ApiError

_YEAR = "private, max-age=31536000, immutable"
_ASK = "private, no-cache"
# What a browser does with the bytes of strangers: show them, and nothing else.
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Files:
    """The two calls."""

    def __init__(self, collections: Collections, contents: Contents) -> None:
        self._collections = collections
        self._contents = contents

    async def thumbnail(self, request: Request) -> Response:
        """GET /v1/collections/NAME/items/ID/thumbnail"""
        name, item = request.path_params["collection"], request.path_params["item"]
        _, row = await self._collections.item(name, item, columns=THUMBNAIL)
        if not row.thumbnail:
            raise ApiError(404, ITEM_NOT_FOUND, "the item has no thumbnail", param="id")
        version = row.checksum[:16]
        etag = f'"{version or len(row.thumbnail)}"'
        is_named = bool(version) and request.query_params.get("v") == version
        headers = {**_SAFE, "ETag": etag, "Cache-Control": _YEAR if is_named else _ASK}
        if _is_known(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(row.thumbnail, headers=headers, media_type="image/jpeg")

    async def content(self, request: Request) -> Response:
        """GET /v1/collections/NAME/items/ID/content"""
        name, item = request.path_params["collection"], request.path_params["item"]
        opened, row = await self._collections.item(name, item)
        found = await self._collections.read(self._contents.find, opened.folder, row)
        if found is None:
            message = "the original of this item is not kept here, or its folder is not allowed"
            raise ApiError(404, ITEM_NOT_FOUND, message, param="id")
        headers = {**_SAFE, "ETag": found.etag, "Cache-Control": _ASK}
        if _is_known(request, found.etag):
            return Response(status_code=304, headers=headers)
        return FileResponse(found.path, headers=headers, media_type=found.kind)


def _is_known(request: Request, etag: str) -> bool:
    """Whether the caller has these bytes already."""
    given = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return etag in given or "*" in given
