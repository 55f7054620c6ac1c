"""Addresses of indexes in Milvus, and servers that are not there."""

from __future__ import annotations

import pytest

pytest.importorskip("pymilvus", reason="pymilvus is not installed")

from babelclip.index import SearchIndexError, check_address, open_index
from babelclip.index.milvus_address import parse_address


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
    """It is an error with the address, without the token."""
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    with pytest.raises(SearchIndexError, match="cannot be used") as caught:
        open_index("milvus://127.0.0.1:1/photographs")
    assert "secret" not in str(caught.value)
