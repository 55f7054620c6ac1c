"""Addresses of indexes in Milvus, and servers that are not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from babelclip.index import SearchIndexError, Settings, check_address, create_index, open_index
from babelclip.index.milvus.address import parse_address
from tests.needs import needs

needs("pymilvus", reason="pymilvus is not installed")


@pytest.mark.parametrize(
    ("address", "uri", "database", "name"),
    [
        ("milvus://host/photographs", "http://host:19530", "", "photographs"),
        ("milvus+https://host:443/family/photos-2", "https://host:443", "family", "photos-2"),
        ("MILVUS://[::1]:19530/a/", "http://[::1]:19530", "", "a"),
    ],
)
def test_addresses_are_read(address: str, uri: str, database: str, name: str) -> None:
    """Server, database and name are where people write them."""
    assert check_address(address) == address
    parsed = parse_address(address)
    assert (parsed.uri, parsed.database, parsed.name) == (uri, database, name)


@pytest.mark.parametrize(
    "address",
    [
        "milvus://host",
        "milvus:///photographs",
        "milvus://host:x/photographs",
        "milvus://host/a/b/c",
        "milvus://host/photo graphs",
        "milvus://host/é",
        "milvus://root:secret@host/photographs",
        "milvus://host/photographs?token=secret",
    ],
)
def test_a_bad_address_is_explained(address: str) -> None:
    """What is no address of Milvus is refused with what one is, and no password is repeated."""
    with pytest.raises(SearchIndexError, match=r"milvus://HOST|valid port") as caught:
        check_address(address)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error with the server's address and the name of what has the token, without the token."""
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    with pytest.raises(SearchIndexError, match=r"127\.0\.0\.1:1 does not answer.*MILVUS_TOKEN") as caught:
        open_index("milvus://127.0.0.1:1/photographs")
    assert "secret" not in str(caught.value)


def test_a_file_is_of_one_process(tmp_path: Path) -> None:
    """A second process that opens an index of Milvus Lite is told why it cannot."""
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
    address = str(tmp_path / "photographs.db")
    with create_index(address, Settings(space="s", dim=2)):
        code = "import sys; from babelclip.index import open_index; open_index(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", code, address],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
    assert "Milvus Lite serves one process" in done.stderr.splitlines()[-1]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package an address is refused with the extra that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SearchIndexError, match=r"pip install 'babelclip\[milvus\]'"):
        check_address("milvus://host/photographs")
    with pytest.raises(SearchIndexError, match=r"pip install 'babelclip\[milvus-lite\]'"):
        check_address("photographs.db")
