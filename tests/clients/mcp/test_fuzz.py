"""Some calls with arbitrary arguments; `python -m tests.clients.mcp.fuzz` makes thousands."""

from __future__ import annotations

import importlib.util

import pytest

from tests.clients.mcp.fuzz import fuzz
from tests.clients.mcp.test_tools import KINDS, server
from tests.clients.retrievers.library import Library

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the SDK of MCP is not installed"
)


@KINDS
def test_whatever_a_model_gives_is_answered_or_refused_in_a_sentence(images: Library, kind: str) -> None:
    """No arguments break the server, or make it tell of the machine that it runs on."""
    counts, failures = fuzz(server(images, kind), 120, seed=1)
    assert not failures
    assert counts["answered"] > 5
    assert counts["error"] > 20
