"""Whether the gateway lives, and whether the models behind it embed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from starlette.responses import Response

from babelclip.errors import BabelclipError
from gateway.errors import from_client
from gateway.http.answers import json_response
from gateway.models import Models
from gateway.towers.base import ModelVersion

# The address needs no key, so that asking it costs the models nothing more often than this.
FRESH_SECONDS = 1.0

State = Mapping[str, ModelVersion | BabelclipError]


class Health:
    """The state of all models as it was within the last `FRESH_SECONDS`."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._state: State = {}
        self._asked = float("-inf")
        self._turn = asyncio.Lock()

    async def state(self) -> State:
        """By model: its default version if both towers give their golden items, or why they do not."""
        async with self._turn:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._state = await self._models.check()
                self._asked = time.monotonic()
            return self._state

    async def embeds(self, name: str) -> bool:
        """Whether both towers of a model's default version give their golden items."""
        return isinstance((await self.state())[name], ModelVersion)


async def live() -> Response:
    """The process answers; nothing is said of models."""
    return json_response(b'{"status":"ok"}')


async def ready(health: Health) -> Response:
    """200 when both towers of every model embed their golden items, else 503; and the state of each model."""
    state = await health.state()
    described = {name: _described(found) for name, found in state.items()}
    good = all(isinstance(found, ModelVersion) for found in state.values())
    body = {"status": "ready" if good else "not ready", "models": described}
    return json_response(json.dumps(body).encode(), 200 if good else 503)


def _described(found: ModelVersion | BabelclipError) -> dict[str, str]:
    if isinstance(found, ModelVersion):
        return {"status": "ready", "version": found.version, "space": found.space}
    error = from_client(found)
    return {"status": "not ready", "code": error.code, "message": error.message}
