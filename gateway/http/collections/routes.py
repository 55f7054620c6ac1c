"""Which address leads to which call on collections."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.access.account import ACCOUNT
from gateway.collections.contents import Contents
from gateway.collections.job_kinds import needs_admin
from gateway.collections.service import Collections
from gateway.errors import COLLECTIONS_OFF, ApiError
from gateway.http import body
from gateway.http.answers import json_response
from gateway.http.collections import answers, bodies, uploads
from gateway.http.collections.answers import PREFIX
from gateway.http.collections.files import Files
from gateway.http.collections.lines import NDJSON, Lines
from gateway.settings import Settings

Asked = TypeVar("Asked")
JOBS = "/v1/jobs"
_ONE = PREFIX + "/{collection}"
_ITEM = _ONE + "/items/{item}"
_MAX_BYTES = 1_000_000  # of a body without images


def routes(collections: Collections | None, settings: Settings) -> list[Route]:
    """The routes; where collections are off, each says so."""
    if collections is None:
        methods = ["GET", "POST", "DELETE"]
        paths = (PREFIX, PREFIX + "/{rest:path}", JOBS, JOBS + "/{rest:path}")
        return [Route(path, _off, methods=methods) for path in paths]
    contents = Contents(settings.content_roots)
    calls = _Calls(collections, contents, settings)
    files = Files(collections, contents)
    handlers = [
        ("POST", PREFIX, calls.create),
        ("GET", PREFIX, calls.list_collections),
        ("GET", _ONE, calls.describe),
        ("DELETE", _ONE, calls.delete),
        ("GET", _ONE + "/items", calls.items),
        ("POST", _ONE + "/items", calls.add),
        ("POST", _ONE + "/items/delete", calls.delete_items),
        ("GET", _ITEM, calls.item),
        ("DELETE", _ITEM, calls.delete_item),
        ("GET", _ITEM + "/thumbnail", files.thumbnail),
        ("GET", _ITEM + "/content", files.content),
        ("POST", _ONE + "/search", calls.search),
        ("POST", _ONE + "/similar", calls.similar),
        ("POST", _ONE + "/classify", calls.classify),
        ("POST", _ONE + "/jobs", calls.start_job),
        ("GET", JOBS, calls.list_jobs),
        ("GET", JOBS + "/{job}", calls.job),
        ("DELETE", JOBS + "/{job}", calls.cancel_job),
    ]
    return [Route(path, handler, methods=[method]) for method, path, handler in handlers]


class _Calls:
    """Each call reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, collections: Collections, contents: Contents, settings: Settings) -> None:
        self._collections = collections
        self._contents = contents
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """POST /v1/collections"""
        asked = await self._asked(request, bodies.read_collection, _MAX_BYTES)
        made = await self._collections.create(asked.name, asked.fields, asked.model)
        return _json(answers.collection(made), 201)

    async def list_collections(self, request: Request) -> Response:
        """GET /v1/collections"""
        found = await self._collections.listed()
        return _json({"collections": [answers.collection(one) for one in found]})

    async def describe(self, request: Request) -> Response:
        """GET /v1/collections/NAME"""
        return _json(answers.collection(await self._collections.describe(_name(request))))

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/collections/NAME"""
        await self._collections.delete(_name(request))
        return Response(status_code=204)

    async def add(self, request: Request) -> Response:
        """POST /v1/collections/NAME/items: JSON, lines of JSON, or a form."""
        name = _name(request)
        await self._collections.describe(name)  # Before a body is read that has nowhere to go.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == NDJSON:
            if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise ApiError(415, "unsupported_media_type", "lines must be sent uncompressed")
            adding, settings = self._collections.adding, self._settings
            return Lines(request, adding, name, settings.max_body_bytes, settings.body_timeout)
        if kind == uploads.FORM:
            return await self._add_files(request, name)
        items = await self._asked(request, lambda found: bodies.read_items(found, self._settings.max_items))
        outcomes = await body.while_there(request, self._collections.adding.add(name, items))
        return _json({"items": [answers.outcome(one) for one in outcomes]})

    async def _add_files(self, request: Request, name: str) -> Response:
        settings = self._settings
        files = await body.within(
            settings.body_timeout,
            uploads.read(request, max_items=settings.max_items, max_bytes=settings.max_body_bytes),
        )
        items = [item for _, item in files]
        outcomes = await body.while_there(request, self._collections.adding.add(name, items))
        told = [
            {"file": file, **answers.outcome(one)} for (file, _), one in zip(files, outcomes, strict=True)
        ]
        return _json({"items": told})

    async def items(self, request: Request) -> Response:
        """GET /v1/collections/NAME/items: page by page."""
        name, asked = _name(request), bodies.read_listing(request.query_params)
        rows, following = await self._collections.items(
            name, after=asked.after, limit=asked.limit, where=asked.where, failed=asked.failed
        )
        return json_response(answers.items(name, rows, following, self._contents))

    async def item(self, request: Request) -> Response:
        """GET /v1/collections/NAME/items/ID"""
        name = _name(request)
        _, row = await self._collections.item(name, request.path_params["item"])
        return _json(answers.item(name, row, self._contents))

    async def delete_item(self, request: Request) -> Response:
        """DELETE /v1/collections/NAME/items/ID"""
        name, item = _name(request), request.path_params["item"]
        await self._collections.item(name, item, columns=())
        await self._collections.delete_items(name, [item])
        return Response(status_code=204)

    async def delete_items(self, request: Request) -> Response:
        """POST /v1/collections/NAME/items/delete"""
        ids, where = await self._asked(request, bodies.read_selection, _MAX_BYTES)
        return _json({"deleted": await self._collections.delete_items(_name(request), ids, where)})

    async def search(self, request: Request) -> Response:
        """POST /v1/collections/NAME/search"""
        asked = await self._asked(request, lambda found: bodies.read_search(found, self._settings.max_items))
        work = self._collections.searching.search(_name(request), asked)
        return json_response(answers.search(await body.while_there(request, work), self._contents))

    async def similar(self, request: Request) -> Response:
        """POST /v1/collections/NAME/similar"""
        item, asked = await self._asked(request, bodies.read_similar, _MAX_BYTES)
        work = self._collections.searching.similar(_name(request), item, asked)
        return json_response(answers.search(await body.while_there(request, work), self._contents))

    async def classify(self, request: Request) -> Response:
        """POST /v1/collections/NAME/classify"""
        asked = await self._asked(
            request, lambda found: bodies.read_labels(found, self._settings.max_items), _MAX_BYTES
        )
        work = self._collections.searching.label(_name(request), asked)
        return json_response(answers.labelled(await body.while_there(request, work)))

    async def start_job(self, request: Request) -> Response:
        """POST /v1/collections/NAME/jobs"""
        kind, parameters = await self._asked(request, bodies.read_job, _MAX_BYTES)
        account = ACCOUNT.get()
        if account is not None and needs_admin(kind):
            account.require("admin")
        return _json(answers.job(await self._collections.jobs.start(_name(request), kind, parameters)), 202)

    async def list_jobs(self, request: Request) -> Response:
        """GET /v1/jobs: without what came of each, which may be much."""
        found = [answers.job(one) for one in await self._collections.jobs.listed()]
        return _json({"jobs": [{**one, "result": None} for one in found]})

    async def job(self, request: Request) -> Response:
        """GET /v1/jobs/ID"""
        return _json(answers.job(await self._collections.jobs.find(request.path_params["job"])))

    async def cancel_job(self, request: Request) -> Response:
        """DELETE /v1/jobs/ID"""
        return _json(answers.job(await self._collections.jobs.cancel(request.path_params["job"])), 202)

    async def _asked(
        self, request: Request, read: Callable[[Any], Asked], max_bytes: int | None = None
    ) -> Asked:
        settings = self._settings
        most = min(max_bytes or settings.max_body_bytes, settings.max_body_bytes)
        data = await body.read(request, max_bytes=most, timeout=settings.body_timeout)
        return await body.apart(len(data), lambda: read(body.parse(data)))


def _name(request: Request) -> str:
    name: str = request.path_params["collection"]
    return name


def _json(facts: dict[str, Any], status: int = 200) -> Response:
    return json_response(json.dumps(facts).encode(), status)


async def _off(request: Request) -> Response:
    message = "this gateway keeps no collections; its operator can name a folder for them"
    raise ApiError(404, COLLECTIONS_OFF, message)
