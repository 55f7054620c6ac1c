"""A dialect as CONTRIBUTING.md adds one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from handlers.errors import MALFORMED_REQUEST, RequestError
from handlers.protocol import dialects
from handlers.protocol.dialects.base import Content, Dialect
from handlers.protocol.envelope import JSON
from handlers.protocol.items import json_item
from handlers.protocol.rendering import Response, compact, json_rows
from tests.handlers.conftest import DIM
from tests.handlers.worker import Worker, http
from tests.places import REPOSITORY


def test_the_guides_dialect_is_all_that_a_new_one_takes(
    text: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects whoever follows the guide: one class, one place in the list, and both ways work."""
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {
        "Content": Content,
        "Dialect": Dialect,
        "JSON": JSON,
        "MALFORMED_REQUEST": MALFORMED_REQUEST,
        "RequestError": RequestError,
        "Response": Response,
        "compact": compact,
        "json_item": json_item,
        "json_rows": json_rows,
    }
    exec(f"from __future__ import annotations\n{code}", names)
    monkeypatch.setattr(dialects, "DIALECTS", (names["Prompts"](), *dialects.DIALECTS))
    good, bad, wrong = text.send(
        http(b'{"prompts": ["red", 7]}', "application/json"),
        http(b'{"prompts": ["red"]}', "application/json", url_path="unknown"),
        http(b'{"prompts": 7}', "application/json"),
    )
    first, second = json.loads(good.body)
    assert len(first) == DIM
    assert second is None
    assert (bad.status, wrong.status) == (404, 400)
    assert json.loads(wrong.body) == {"error": '"prompts" must be a list'}
    assert set(json.loads(bad.body)) == {"error"}
