"""Tars in WebDataset's layout."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.inputs.tar import tar_items
from batch.shards import ShardError
from tests.batch.support import make_tar


def test_images_with_captions_and_metadata(tmp_path: Path) -> None:
    """Each image has its sample's caption and metadata; a sample without an image is none."""
    made = make_tar(
        tmp_path / "s.tar",
        {
            "a/1.jpg": b"one",
            "a/1.txt": b"ein Apfel ",
            "a/1.json": b'{"width": 3}',
            "a/2.png": b"two",
            "a/2.json": json.dumps({"caption": "zwei"}).encode(),
            "a/3.txt": b"no image",
            "4.seg.png": b"four",
        },
    )
    with made.open("rb") as file:
        items = list(tar_items(file, "s.tar"))
    assert [(one.source, one.data, one.caption) for one in items] == [
        ("s.tar#a/1.jpg", b"one", "ein Apfel"),
        ("s.tar#a/2.png", b"two", "zwei"),
        ("s.tar#4.seg.png", b"four", ""),
    ]
    assert [one.columns["metadata"] for one in items] == ['{"width": 3}', '{"caption": "zwei"}', None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tar of 30 images."""
    members = {f"{n:02d}.jpg": bytes([n]) * (100 * n) for n in range(1, 31)}
    return make_tar(tmp_path_factory.mktemp("tar") / "s.tar", members).read_bytes()


@settings(max_examples=60)
@given(end=st.integers(0, 10**6))
def test_a_tar_that_is_cut_off_is_no_tar(sound: bytes, end: int) -> None:
    """Wherever it was cut: nobody takes half a shard for a whole one."""
    end %= len(sound) - 2 * tarfile.BLOCKSIZE
    if not sound[end:].strip(b"\0"):
        assert len(list(tar_items(io.BytesIO(sound[:end]), "s.tar"))) == 30
        return
    with pytest.raises(ShardError, match=r"no tar to its end|cut off"):
        list(tar_items(io.BytesIO(sound[:end]), "s.tar"))


def test_a_broken_header_in_the_middle_is_seen(sound: bytes) -> None:
    """Python's tarfile would end there in silence."""
    broken = bytearray(sound)
    with tarfile.open(fileobj=io.BytesIO(sound)) as archive:
        offset = archive.getmembers()[10].offset
    broken[offset : offset + 512] = b"\x01" * 512
    with pytest.raises(ShardError, match="is broken"):
        list(tar_items(io.BytesIO(bytes(broken)), "s.tar"))


@settings(max_examples=60)
@given(data=st.binary(max_size=2048))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes from outside raise nothing but the error that sets a shard aside."""
    try:
        items = list(tar_items(io.BytesIO(data), "s.tar"))
    except ShardError:
        return
    assert items == []
