"""The page at /ui/: static files, with a policy that lets a browser run and load nothing else.

    GET /                       a browser is sent on to the page
    GET /ui/                    index.html, asked for anew each time, and mostly unchanged
    GET /ui/files/DIGEST/NAME   its files, which a browser may keep: other files have another digest

They hold no data, and so need no key: what the page shows, it asks for with the key of who looks at it.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.http.compression import accepts_gzip
from gateway.page.files import PageFile, read_page

PREFIX = "/ui/"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text never becomes markup: the browser refuses every call that could make it so.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_FOR_EVER = "public, max-age=31536000, immutable"


def routes() -> list[Route]:
    """The routes of the page, which all are open."""
    return [
        Route("/", _root, methods=["GET"]),
        Route("/ui", _without_slash, methods=["GET"]),
        Route(PREFIX, _index, methods=["GET"]),
        Route(f"{PREFIX}files/{{digest}}/{{name:path}}", _file, methods=["GET"]),
    ]


async def _root(request: Request) -> Response:
    """GET / of a browser; a program is told that there is nothing here."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse("ui/", 307, {"Vary": "Accept"})


async def _without_slash(request: Request) -> Response:
    """GET /ui"""
    return RedirectResponse("ui/", 307)


async def _index(request: Request) -> Response:
    """GET /ui/"""
    return _answer(request, read_page().index, "no-cache")


async def _file(request: Request) -> Response:
    """GET /ui/files/DIGEST/NAME"""
    page = read_page()
    found = page.files.get(request.path_params["name"])
    if found is None or request.path_params["digest"] != page.digest:
        raise HTTPException(404)
    return _answer(request, found, _FOR_EVER)


def _answer(request: Request, file: PageFile, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    if accepts_gzip(request.headers):
        return Response(file.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.kind)
    return Response(file.content, headers=headers, media_type=file.kind)
