"""What an operator may change while the gateway serves: which version each model means, and who gets another.

    GET  /v1/admin/models                    all models
    GET  /v1/admin/models/NAME               one, with the judgement on what stands in its shadow
    POST /v1/admin/models/NAME/promote       {"version": "2.0"}
    POST /v1/admin/models/NAME/rollback
    POST /v1/admin/models/NAME/canary        {"version": "2.0", "share": 0.1}; a share of 0 ends it
    POST /v1/admin/models/NAME/shadow        the same

A version is proved by the golden items of both its towers before anybody gets it. Each call answers with what
holds from then on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from babelclip.errors import SPACE_MISMATCH, BabelclipError, RegistryError, SpaceMismatch
from gateway.errors import ApiError, from_client, malformed
from gateway.http import body
from gateway.http.answers import json_response
from gateway.http.dialects import items
from gateway.models import Models
from gateway.settings import Settings
from gateway.towers.switch import SwitchedTowers
from gateway.versions import VERSION, ModelVersions, VersionsError, as_json

PREFIX = "/v1/admin/models"
_MODEL = PREFIX + "/{model:path}"
_MAX_BYTES = 64 * 1024
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_Change = Callable[[SwitchedTowers, dict[str, Any]], Awaitable[ModelVersions]]


def routes(models: Models, settings: Settings) -> list[Route]:
    """The routes of the operator, for keys that may do more than embed."""
    calls = _Admin(models, settings)
    handlers: list[tuple[str, str, _Handler]] = [
        (PREFIX, "GET", calls.list_models),
        (f"{_MODEL}/promote", "POST", calls.changing(_promote)),
        (f"{_MODEL}/rollback", "POST", calls.changing(_rollback)),
        (f"{_MODEL}/canary", "POST", calls.changing(_canary)),
        (f"{_MODEL}/shadow", "POST", calls.changing(_shadow)),
        (_MODEL, "GET", calls.describe_model),
    ]
    return [Route(path, handler, methods=[method]) for path, method, handler in handlers]


class _Admin:
    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._timeout = settings.body_timeout

    async def list_models(self, request: Request) -> Response:
        """GET /v1/admin/models"""
        found = [await self._state(name) for name in self._models.towers]
        return json_response(json.dumps({"models": found}).encode())

    async def describe_model(self, request: Request) -> Response:
        """GET /v1/admin/models/NAME"""
        name = self._named(request)
        return json_response(json.dumps(await self._state(name, judged=True)).encode())

    def changing(self, change: _Change) -> _Handler:
        """A route that changes what is decided on a model."""

        async def changed(request: Request) -> Response:
            name = self._named(request)
            data = await body.read(request, max_bytes=_MAX_BYTES, timeout=self._timeout)
            asked = body.parse(data) if data else {}
            if not isinstance(asked, dict):
                raise malformed(f"the body must be a JSON object, not {items.named(asked)}")
            try:
                await change(self._models.towers[name], asked)
            except RegistryError as error:
                raise ApiError(409, "refused", str(error)) from error
            except SpaceMismatch as error:
                message = "the two towers of this version are of two embedding spaces"
                raise ApiError(409, SPACE_MISMATCH, message, param="version") from error
            except BabelclipError as error:
                raise from_client(error) from error
            except VersionsError as error:
                raise ApiError(409, "versions_unchangeable", str(error)) from error
            return json_response(json.dumps(await self._state(name)).encode())

        return changed

    def _named(self, request: Request) -> str:
        name = request.path_params["model"]
        chosen = self._models.find(name)
        if not name or chosen.version is not None:
            raise malformed("the address holds a model's name without a version")
        return chosen.name

    async def _state(self, name: str, *, judged: bool = False) -> dict[str, Any]:
        towers = self._models.towers[name]
        decided = towers.decided()
        state: dict[str, Any] = {
            "name": name,
            "version": decided.version,
            "space": None,
            "follows_engine": decided.version is None,
            "previous": None,
            "canary": None,
            "shadow": None,
            **as_json(decided),
        }
        try:
            default = await towers.default()
            state |= {"version": default.version or None, "space": default.space}
        except BabelclipError as error:
            state["problem"] = from_client(error).message
        observed = self._models.shadowed[name].observed
        if judged and decided.shadow is not None and observed is not None:
            report = await asyncio.to_thread(observed.report)
            state["shadow"] |= {"report": report.as_json()}
        return state


async def _promote(towers: SwitchedTowers, asked: dict[str, Any]) -> ModelVersions:
    return await towers.promote(_version(asked, "version"))


async def _rollback(towers: SwitchedTowers, asked: dict[str, Any]) -> ModelVersions:
    _only(asked)
    return await towers.rollback()


async def _canary(towers: SwitchedTowers, asked: dict[str, Any]) -> ModelVersions:
    return await towers.canary(_version(asked, "version", "share"), _share(asked))


async def _shadow(towers: SwitchedTowers, asked: dict[str, Any]) -> ModelVersions:
    return await towers.shadow(_version(asked, "version", "share"), _share(asked))


def _version(asked: dict[str, Any], *fields: str) -> str:
    _only(asked, *fields)
    version = asked.get("version")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise malformed('"version" must be a string of up to 64 letters, digits, and . _ -', "version")
    return version


def _share(asked: dict[str, Any]) -> float:
    share = asked.get("share")
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
        raise malformed('"share" must be a number from 0 to 1', "share")
    return float(share)


def _only(asked: dict[str, Any], *fields: str) -> None:
    if extra := set(asked) - set(fields):
        allowed = " and ".join(f'"{field}"' for field in fields) or "nothing"
        raise malformed(f"this call takes {allowed}, and no {json.dumps(min(extra)[:32])}")


def describe() -> dict[str, Any]:
    """The calls for the OpenAPI document."""
    version = {"type": "string", "description": "a version that the engine has"}
    share = {"type": "number", "minimum": 0, "maximum": 1, "description": "0 ends it"}
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "promote": ("Prove a version, then make it what the model's name means", {"version": version}),
        "rollback": ("Promote what the name meant before", {}),
        "canary": (
            "Give a version to a share of sessions, each always the same",
            {"version": version, "share": share},
        ),
        "shadow": (
            "Have a version compute a share of requests too, for comparison",
            {"version": version, "share": share},
        ),
    }
    parameters = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    paths: dict[str, Any] = {
        PREFIX: {"get": _call("What each model's name means, and who gets another version")},
        f"{PREFIX}/{{model}}": {
            "get": {
                **_call("The same of one model, with what its shadow has shown"),
                "parameters": parameters,
            }
        },
    }
    for name, (summary, fields) in bodies.items():
        schema = {"type": "object", "properties": fields, "required": list(fields)}
        content = {"application/json": {"schema": schema}}
        body_ = {"requestBody": {"required": bool(fields), "content": content}}
        paths[f"{PREFIX}/{{model}}/{name}"] = {"post": {**_call(summary), "parameters": parameters, **body_}}
    return paths


def _call(summary: str) -> dict[str, Any]:
    descriptions = {
        "200": "What holds now.",
        "400": "The request is wrong.",
        "401": "No key, or a wrong one.",
        "404": "There is no such model or version.",
        "409": "Refused, and nothing has changed.",
        "503": "The version was not proved; nothing has changed.",
    }
    responses = {status: {"description": text} for status, text in descriptions.items()}
    return {"summary": summary, "security": [{"key": []}], "responses": responses}
