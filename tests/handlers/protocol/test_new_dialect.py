"""A dialect is one class: put into the list, it is recognised, read, answered and refused in its own form."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from handlers.config import Settings, TowerMeta
from handlers.errors import MALFORMED_REQUEST, ItemError, RequestError
from handlers.outcomes import Outcome
from handlers.protocol import dialects
from handlers.protocol.dialects.base import Content, Dialect
from handlers.protocol.envelope import Envelope
from handlers.protocol.rendering import Response
from tests.handlers.conftest import DIM
from tests.handlers.worker import Worker, grpc, http

CSV = "text/csv"


class Csv(Dialect):
    """One text per line; one vector per line comes back, empty for a text that failed."""

    def matches(self, envelope: Envelope) -> bool:
        return envelope.content_type == CSV

    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        if not isinstance(envelope.body, bytes | bytearray | str):
            raise RequestError(MALFORMED_REQUEST, "no table")
        text = envelope.body if isinstance(envelope.body, str) else envelope.body.decode()
        return Content(list(text.split("\n")))

    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        rows = ("" if isinstance(o, ItemError) else ",".join(map(str, o.vector)) for o in outcomes)
        return Response("\n".join(rows).encode(), CSV)

    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        return Response(error.code.encode(), CSV, error.status)


def test_a_new_dialect_needs_nothing_else(text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its items share a batch with those of others, and the checks of every request are made for it too."""
    monkeypatch.setattr(dialects, "DIALECTS", (Csv(), *dialects.DIALECTS))
    table, too_many, elsewhere, native = text.send(
        http(b"a red heart\n\nein rotes Herz", CSV),
        http(b"a\n" * text.handler.settings.max_items, CSV),
        http(b"a", CSV, url_path="v1/embeddings/more"),
        grpc(data=b"a red heart"),
    )
    assert (table.status, table.content_type) == (200, CSV)
    first, failed, last = table.body.decode().split("\n")
    np.testing.assert_allclose(
        np.array(first.split(","), np.float32), np.frombuffer(native.message.vectors, "<f4"), atol=1e-6
    )
    assert failed == ""
    assert len(last.split(",")) == DIM
    assert (too_many.status, too_many.body) == (413, b"too_many_items")
    assert (elsewhere.status, elsewhere.body) == (404, b"unknown_path")


def test_without_it_the_body_is_refused(text: Worker) -> None:
    """The native dialect takes what no other does, and says which types it reads."""
    (reply,) = text.send(http(b"a red heart", "application/x-table"))
    assert reply.status == 415
    assert "application/x-table" in json.loads(reply.body)["error"]["message"]
