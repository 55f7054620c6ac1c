"""Collections in memory that answer the page's calls as the gateway's do, with results that a test decides.

Beside the real page, and with no model: an item matches a query by the words of its caption. For what a real
gateway would need long to make: 100,000 results, answers that come late.
"""

import asyncio
import base64
import contextlib
import io
import json
import queue
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.http import page
from tests.e2e.support import PATIENCE

THRESHOLD = 0.25


@dataclass
class Item:
    """A row. `thumbnail` and `content` are what is served of it; none of both is answered by 404."""

    id: str
    source: str
    caption: str = ""
    kind: str = "image"
    width: int = 640
    height: int = 480
    begin: float | None = None
    end: float | None = None
    taken: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    thumbnail: bytes | None = None
    content: tuple[str, bytes] | None = None


@dataclass
class Catalogue:
    """Collections by name, and what a test wants to know or decide.

    Attributes:
        key: what a call must show; "" lets all in.
        fields: the declared ones, of all collections.
        calls: (method, path, body) of all calls, in order.
        hold: awaited before a search is answered.
        refused: by file name, the code and message with which an upload fails.
        groups: what a dedup job finds.
        languages: by collection, those that its model is told, the default first.
    """

    collections: dict[str, list[Item]]
    key: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    hold: Callable[[Any], Any] | None = None
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    languages: dict[str, list[str]] = field(default_factory=dict)
    address: str = ""

    def searches(self) -> list[Any]:
        """The bodies of all searches, in order."""
        return [body for _, path, body in self.calls if path.endswith(("/search", "/similar"))]


def photographs() -> Catalogue:
    """Two collections, one of them with a few photographs, a burst and a moment of a film."""
    captions = [
        "a dog on the beach",
        "a dog in the snow",
        "people on the beach",
        "a red car",
        "ein Hund",
        "كلب",
    ]
    items = [Item(f"p{place}", f"/photos/{place}.jpg", caption) for place, caption in enumerate(captions)]
    items[0].duplicates = ["p4", "p5"]
    items.append(Item("film", "/films/walk.webm", "a walk", "moment", begin=63.5, end=71.0))
    return Catalogue({"photos": items, "other": [Item("o", "o.jpg", "a dog elsewhere")]})


def ranked(items: list[Item], query: str) -> list[tuple[float, Item]]:
    """Items by the share of the query's words in their caption, best first."""
    wanted = [word for word in query.lower().split() if not word.startswith("-")]
    avoided = [word[1:] for word in query.lower().split() if word.startswith("-")]

    def score(item: Item) -> float:
        words = re.findall(r"\w+", item.caption.lower())
        found = sum(word in words for word in wanted) / max(1, len(wanted))
        return round(0.1 + 0.3 * found - 0.2 * sum(word in words for word in avoided), 4)

    return sorted(((score(item), item) for item in items), key=lambda pair: -pair[0])


class _Calls:
    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.rankings: dict[tuple[str, str, int], list[tuple[float, Item]]] = {}

    def routes(self) -> list[Route]:
        one = "/v1/collections/{name}"
        return [
            *page.routes(),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/collections", self.listed, methods=["GET"]),
            Route("/v1/collections", self.create, methods=["POST"]),
            Route(f"{one}/search", self.search, methods=["POST"]),
            Route(f"{one}/similar", self.search, methods=["POST"]),
            Route(f"{one}/items", self.listing, methods=["GET"]),
            Route(f"{one}/items", self.add, methods=["POST"]),
            Route(f"{one}/items/{{id}}", self.item, methods=["GET"]),
            Route(f"{one}/items/{{id}}/thumbnail", self.thumbnail, methods=["GET"]),
            Route(f"{one}/items/{{id}}/content", self.content, methods=["GET"]),
            Route(f"{one}/jobs", self.start, methods=["POST"]),
            Route("/v1/jobs", self.jobs, methods=["GET"]),
            Route("/v1/jobs/{id}", self.job, methods=["GET", "DELETE"]),
        ]

    async def models(self, request: Request) -> Response:
        data: list[dict[str, Any]] = [{"id": "clip"}]
        for name, (default, *more) in self.catalogue.languages.items():
            data.append(
                {"id": f"of-{name}", "languages": sorted([default, *more]), "default_language": default}
            )
        return JSONResponse({"object": "list", "data": data})

    async def listed(self, request: Request) -> Response:
        found = [self._entry(name) for name in self.catalogue.collections]
        return JSONResponse({"collections": found})

    async def create(self, request: Request) -> Response:
        name = (await request.json())["name"]
        if not re.fullmatch(r"[a-z0-9-]+", name):
            return _error(400, "a name has letters, digits and - alone")
        self.catalogue.collections[name] = []
        return JSONResponse(self._entry(name), 201)

    async def search(self, request: Request) -> Response:
        body = await request.json()
        self.catalogue.calls.append((request.method, request.url.path, body))
        if self.catalogue.hold:
            await self.catalogue.hold(body)
        items = self.catalogue.collections[request.path_params["name"]]
        if "id" in body:
            liked = next(item for item in items if item.id == body["id"])
            found = [pair for pair in ranked(items, liked.caption) if pair[1] is not liked]
        else:
            query = body.get("query") or " ".join(term.get("text", "") for term in body["terms"])
            known = request.path_params["name"], query, len(items)
            if known not in self.rankings:
                self.rankings[known] = ranked(items, query)
            found = self.rankings[known]
        kind = body.get("filter", {}).get("kind", {}).get("$eq")
        found = [pair for pair in found if kind in (None, pair[1].kind)]
        offset, top = body["offset"], body["top"]
        name = request.path_params["name"]
        hits = [{**_json(name, item), "score": score, "match": score} for score, item in found[offset:][:top]]
        return JSONResponse(
            {
                "collection": name,
                "space": "s",
                "version": "1.0",
                "threshold": THRESHOLD,
                "fits": bool(found) and found[0][0] >= THRESHOLD,
                "hits": hits,
                "next_offset": offset + top if offset + top < len(found) else None,
            }
        )

    async def listing(self, request: Request) -> Response:
        name, asked = request.path_params["name"], request.query_params
        kind = json.loads(asked.get("filter", "{}")).get("kind", {}).get("$eq")
        items = sorted(self.catalogue.collections[name], key=lambda item: item.id)
        items = [item for item in items if item.id > asked.get("after", "") and kind in (None, item.kind)]
        page, rest = items[: int(asked["limit"])], items[int(asked["limit"]) :]
        following = page[-1].id if rest else None
        return JSONResponse({"items": [_json(name, item) for item in page], "next_after": following})

    async def add(self, request: Request) -> Response:
        name = request.path_params["name"]
        outcomes = []
        async with request.form() as form:
            for part in form.getlist("file"):
                assert not isinstance(part, str)
                data = await part.read()
                refused = self.catalogue.refused.get(part.filename or "")
                if refused:
                    outcomes.append(
                        {"id": None, "status": "failed", "code": refused[0], "message": refused[1]}
                    )
                    continue
                item = Item(f"up{len(self.catalogue.collections[name])}", part.filename or "", thumbnail=data)
                self.catalogue.collections[name].append(item)
                outcomes.append({"id": item.id, "status": "added"})
        return JSONResponse({"items": outcomes})

    async def item(self, request: Request) -> Response:
        found = self._find(request)
        return (
            JSONResponse(_json(request.path_params["name"], found)) if found else _error(404, "no such item")
        )

    async def thumbnail(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            return _error(404, "no such item")
        return Response(found.thumbnail or drawing(found.id), media_type="image/jpeg")

    async def content(self, request: Request) -> Response:
        found = self._find(request)
        if found is None or found.content is None:
            return _error(404, "the original is not served")
        return Response(found.content[1], media_type=found.content[0])

    async def start(self, request: Request) -> Response:
        self.catalogue.calls.append((request.method, request.url.path, await request.json()))
        return JSONResponse({"id": "j1", "kind": "dedup", "state": "running"}, 202)

    async def jobs(self, request: Request) -> Response:
        return JSONResponse({"jobs": []})

    async def job(self, request: Request) -> Response:
        result = {"groups": self.catalogue.groups}
        done = {"id": "j1", "kind": "dedup", "state": "done", "done": 4, "total": 4, "result": result}
        return JSONResponse(done)

    def _find(self, request: Request) -> Item | None:
        items = self.catalogue.collections[request.path_params["name"]]
        return next((item for item in items if item.id == request.path_params["id"]), None)

    def _entry(self, name: str) -> dict[str, Any]:
        items = self.catalogue.collections[name]
        known = {"space": "s", "version": "1.0", "dim": 4, "failed": 0, "method": "flat", "state": "ready"}
        model = f"of-{name}" if name in self.catalogue.languages else "clip"
        fields = self.catalogue.fields
        return {"name": name, "model": model, "items": len(items), "fields": fields, **known}


class _Keyed:
    """ASGI middleware: 401 for a call of the API without the key."""

    def __init__(self, app: Any, catalogue: Catalogue) -> None:
        self.app = app
        self.catalogue = catalogue

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key = self.catalogue.key
        shown = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if key and scope["path"].startswith("/v1/") and shown != f"Bearer {key}":
            await _error(401, "the key is wrong")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@contextlib.contextmanager
def serving(catalogue: Catalogue) -> Iterator[Catalogue]:
    """The server on a free port, whose address the catalogue then has."""
    application = _Keyed(Starlette(routes=_Calls(catalogue).routes()), catalogue)
    config = uvicorn.Config(application, port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    started: queue.Queue[int] = queue.Queue()

    async def serve() -> None:
        working = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.put(server.servers[0].sockets[0].getsockname()[1])
        await working

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    catalogue.address = f"http://127.0.0.1:{started.get(timeout=PATIENCE)}"
    try:
        yield catalogue
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(PATIENCE)


@lru_cache(maxsize=64)
def drawing(name: str, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small JPEG whose colour is of its name."""
    shade = sum(name.encode()) * 47
    target = io.BytesIO()
    Image.new("RGB", size, (shade % 200, shade // 3 % 200, shade // 7 % 200)).save(target, "JPEG")
    return target.getvalue()


def decoded(term: dict[str, str]) -> bytes:
    """The picture of a term of a search."""
    return base64.b64decode(term["image"].partition(",")[2])


def _json(collection: str, item: Item) -> dict[str, Any]:
    path = f"/v1/collections/{collection}/items/{item.id}"
    told = (
        "id",
        "source",
        "kind",
        "begin",
        "end",
        "caption",
        "width",
        "height",
        "taken",
        "metadata",
        "duplicates",
    )
    return {
        **{name: getattr(item, name) for name in told},
        "thumbnail": f"{path}/thumbnail",
        "content": f"{path}/content" if item.content else None,
    }


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "code": "refused"}}, status)
