"""Locks know a place by all its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from babelclip.index import IndexBusy
from babelclip.ingest.locks import adding, alone, changing


@pytest.mark.parametrize(
    ("address", "another"),
    [
        ("milvus://127.0.0.1:19530/photographs", "milvus://127.0.0.1/photographs/"),
        ("milvus://LOCALHOST/photographs", "milvus+https://localhost:19530/photographs"),
        ("s3://bucket/photographs", "S3://bucket/photographs/"),
        ("photographs.db", "./photographs.db"),
    ],
)
def test_another_spelling_of_an_address_is_the_same_place(
    address: str, another: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who adds by one address keeps a migration out that comes by another one, and both see who is alone."""
    monkeypatch.chdir(tmp_path)
    with adding(address, "/photographs"):
        with pytest.raises(IndexBusy, match="another process adds"), alone(another):
            pass
        with changing(another):
            pass
    with alone(another), pytest.raises(IndexBusy, match="migration"), changing(address):
        pass


def test_places_beside_each_other_have_locks_of_their_own() -> None:
    """Another name, database or server is another index."""
    with alone("milvus://127.0.0.1/photographs"):
        for other in (
            "milvus://127.0.0.1/films",
            "milvus://127.0.0.1/db/photographs",
            "milvus://[::1]/photographs",
        ):
            with alone(other):
                pass
