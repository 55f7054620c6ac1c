"""Collections whose indexes are in a Milvus."""

import json
import time
from pathlib import Path

import pytest

from babelclip.index import IndexNotFound, open_index
from gateway.collections.store import Store
from tests.gateway.collections.album import album, call, ids, made, told

PATIENCE = 300.0


@pytest.mark.slow
def test_a_collection_lives_in_milvus(milvus_address: str, tmp_path: Path) -> None:
    """It is filled, searched, changed and compacted as any other, and leaves nothing when it is deleted."""
    with album(tmp_path, collections_index=milvus_address) as front:
        made(front, "by-the-sea")
        record = json.loads((tmp_path / "collections" / "by-the-sea" / "collection.json").read_bytes())
        assert record["index"].startswith(f"{milvus_address}/by-the-sea-")

        found = told(call(front, "POST", "/by-the-sea/search", json={"query": "beach", "diverse": False}))
        assert ids(found)[:2] == ["beach", "bathers"]
        kept = {"query": "beach", "filter": {"album": {"$contains": "an"}}}
        assert ids(told(call(front, "POST", "/by-the-sea/search", json=kept))) == ["city"]
        alike = told(call(front, "POST", "/by-the-sea/similar", json={"id": "beach", "diverse": False}))
        assert ids(alike)[0] == "bathers"
        picture = call(front, "GET", "/by-the-sea/items/beach/thumbnail")
        assert picture.headers["content-type"] == "image/jpeg"

        assert call(front, "DELETE", "/by-the-sea/items/bathers").status_code in (200, 204)
        assert told(call(front, "GET", "/by-the-sea"))["items"] == 2
        job = told(call(front, "POST", "/by-the-sea/jobs", json={"kind": "compact"}), 202)
        end = time.monotonic() + PATIENCE
        while job["state"] == "running":
            assert time.monotonic() < end
            time.sleep(0.1)
            job = told(call(front, "GET", f"/v1/jobs/{job['id']}"))
        assert job["state"] == "done", job

        assert call(front, "DELETE", "/by-the-sea").status_code == 204
        with pytest.raises(IndexNotFound):
            open_index(record["index"])


@pytest.mark.parametrize(
    "address", ["milvus://", "milvus://host:1/a/b/c", "milvus://root:secret@host", "redis://x"]
)
def test_a_place_without_indexes_stops_the_gateway(address: str, tmp_path: Path) -> None:
    """It is said at the start, and no password is repeated."""
    with pytest.raises(ValueError, match="there can be no collections") as caught:
        Store(tmp_path, address)
    assert "secret" not in str(caught.value)
