"""The command line with an index in Milvus, from making it to another search."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from babelclip.cli.main import app
from babelclip.index import open_index
from tests.clients.fake_server import DIM, SPACE, FakeServer

NAMES = ("sea", "wood", "town")


def run(server: FakeServer, *arguments: str | Path) -> Result:
    words = [str(one) for one in arguments]
    return CliRunner().invoke(app, words, env={"BABELCLIP_URL": server.url})


def use(server: FakeServer, address: str, folder: Path) -> None:
    """What people do with an index, one after the other."""
    for name in NAMES:
        (folder / f"{name}.jpg").write_bytes(name.encode())
    (folder / "broken.webp").write_bytes(b"broken")

    made = run(server, "index", "create", address, "--field", "album=text")
    assert made.exit_code == 0, made.output
    added = run(server, "index", "add", address, folder, "--commit", "2", "--json")
    assert added.exit_code == 1, added.output  # one image cannot be read
    report = json.loads(added.stdout)
    assert (report["embedded"], report["failed"]) == (3, 1)
    again = run(server, "index", "add", address, folder)
    assert "0 embedded, 4 unchanged" in again.stderr

    info = json.loads(run(server, "index", "info", address, "--json").stdout)
    assert (info["engine"], info["space"], info["dim"]) == ("milvus", SPACE, DIM)
    assert (info["rows"], info["failed"], info["fields"]) == (3, 1, {"album": "text"})
    (failed,) = json.loads(run(server, "index", "rows", address, "--failed", "--json").stdout)["rows"]
    assert Path(failed["source"]).name == "broken.webp"

    asked = run(server, "search", address, "wood", "--top", "1", "--json", "--filter", '{"kind": "image"}')
    (query,) = json.loads(asked.stdout)["queries"]
    assert [Path(hit["source"]).name for hit in query["results"]] == ["wood.jpg"]
    assert run(server, "index", "compact", address).exit_code == 0
    deleted = run(server, "index", "delete", address, "--where", '{"source": {"$contains": "sea"}}')
    assert deleted.exit_code == 0, deleted.output
    with open_index(address) as index:
        assert index.count() == 3


@pytest.mark.slow
def test_an_index_in_milvus_is_filled_and_searched(
    milvus_address: str, web: FakeServer, tmp_path: Path
) -> None:
    """All commands take the address of a server for that of a folder."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    use(web, f"{milvus_address}/cli-{uuid.uuid4().hex[:8]}", folder)


def test_an_index_in_a_file_is_filled_and_searched(web: FakeServer, tmp_path: Path) -> None:
    """Milvus Lite keeps one in `*.db`."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
    folder = tmp_path / "photographs"
    folder.mkdir()
    use(web, str(tmp_path / "photographs.db"), folder)
