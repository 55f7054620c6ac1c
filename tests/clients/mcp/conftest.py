"""What all tests of the tools search."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.retrievers.library import Library, library


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """An index and a collection that no test changes."""
    pytest.importorskip("lancedb", reason="an index in a folder is kept by LanceDB")
    with library(tmp_path_factory.mktemp("library")) as found:
        yield found
