"""The engines of an index that can run here, and new addresses for each."""

from __future__ import annotations

import importlib.util
import uuid
from pathlib import Path

import pytest

MILVUS = pytest.param("milvus", marks=pytest.mark.slow)
"""A real server, which takes its time to start, and for each index."""

ENGINES = ("lancedb", MILVUS, "milvus-lite")


def new_address(request: pytest.FixtureRequest, engine: str, folder: Path) -> str:
    """The address of an index that there is not yet; the test is skipped where its engine is missing."""
    if engine == "milvus":
        return f"{request.getfixturevalue('milvus_address')}/index-{uuid.uuid4().hex[:8]}"
    if engine == "milvus-lite":
        pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
        return str(folder / "index.db")
    if importlib.util.find_spec("lancedb") is None:
        pytest.skip("LanceDB is not installed")
    return str(folder / "index")
