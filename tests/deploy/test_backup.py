"""Backup and restore as docs/deploy.md has them, of what a gateway keeps: keys, versions, collections."""

import re
import subprocess
from pathlib import Path

import pytest

from babelclip.keys.entries import SCOPES
from babelclip.keys.file import add, revoke
from tests.gateway.collections.album import album, call, ids, made, told
from tests.places import REPOSITORY

STATE = "/var/lib/babelclip"


def archived(folder: Path) -> bytes:
    """The folder by the guide's command for a backup."""
    return _run(r"-v \S+:ro babelclip:cpu (tar .*) > state\.tar\.gz", folder, b"")


def restored(archive: bytes, folder: Path) -> None:
    """The archive in an empty folder, by the guide's command for a restore."""
    folder.mkdir()
    _run(r"babelclip:cpu (tar .*) < state\.tar\.gz", folder, archive)


def _run(command: str, folder: Path, given: bytes) -> bytes:
    found = re.search(command, (REPOSITORY / "docs" / "deploy.md").read_text())
    assert found is not None
    words = [str(folder) if word == STATE else word for word in found[1].split()]
    assert str(folder) in words
    return subprocess.run(words, input=given, check=True, capture_output=True).stdout


def test_a_server_that_was_lost_is_restored(tmp_path: Path) -> None:
    """Callers keep their keys, names their versions, and collections all that was in them."""
    pytest.importorskip("lancedb")
    before = tmp_path / "before"
    before.mkdir()
    with album(before) as front:
        made(front, "photographs")
        told(call(front, "POST", "/v1/admin/models/clip/promote", json={"version": "1.0"}))
        shop = add(front.keys_file, "shop", scopes=SCOPES)
    archive = archived(before)

    after = tmp_path / "after"
    restored(archive, after)
    revoke(after / "keys.json", "test")  # which the gateway of the tests makes anew
    with album(after) as front:
        assert [one["name"] for one in told(call(front, "GET", "", shop))["collections"]] == ["photographs"]
        found = told(call(front, "POST", "/photographs/search", shop, json={"query": "beach"}))
        assert ids(found)[0] == "beach"
        thumbnail = call(front, "GET", "/photographs/items/city/thumbnail", shop)
        assert thumbnail.headers["content-type"] == "image/jpeg"
        named = told(call(front, "GET", "/v1/admin/models/clip", shop))
        assert named["version"] == "1.0"
        assert not named["follows_engine"]
