import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.folders import picture, write_tar
from training.datasets import shards
from training.datasets.rows import DataError

same_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
    ],
)
def test_braces_stand_for_names(pattern: str, names: list[str]) -> None:
    """Protects WebDataset's way of naming shards, leading zeros included."""
    assert shards.expand(pattern) == names


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{a", "a}", "{{0..1},2}", "{0..9999999}", "{0..999}" * 3])
def test_wrong_braces_are_refused(pattern: str) -> None:
    """Protects from patterns that stand for nothing, or for more names than a memory holds."""
    with pytest.raises(DataError, match=r"\{"):
        shards.expand(pattern)


@given(st.text(alphabet="{}.,01a٣²", max_size=12))
@same_folder
def test_any_pattern_is_names_or_refused(pattern: str) -> None:
    """Protects the expansion from any pattern; without braces it is itself."""
    try:
        names = shards.expand(pattern)
    except DataError:
        names = ["refused"]
        assert "{" in pattern or "}" in pattern
    assert names
    if "{" not in pattern and "}" not in pattern:
        assert names == [pattern]


def two_shards(folder: Path) -> str:
    about = {"caption": ["ein Bus", "Bus"], "language": "de"}
    write_tar(
        folder / "00000.tar",
        [
            ("x/1.jpg", picture(1)),
            ("x/1.txt", b"a bus\n\na red bus\n"),
            ("x/1.json", b'{"caption": "not this one"}'),
            ("x/2.cls", b"7"),
            ("x/2.PNG", picture(2, kind="PNG")),
            ("x/2.json", json.dumps(about).encode()),
        ],
    )
    write_tar(folder / "00001.tar", [("x/1.webp", picture(3, kind="WEBP")), ("x/1.txt", "バス".encode())])
    return str(folder / "{00000..00001}.tar")


def test_samples_of_shards_are_examples(tmp_path: Path) -> None:
    """Protects the pairing of images and captions in shards, and keys that repeat from shard to shard."""
    examples = shards.read(two_shards(tmp_path), language="en")
    assert [(e.key, e.captions, e.language) for e in examples] == [
        ("00000/x/1", ("a bus", "a red bus"), "en"),
        ("00000/x/2", ("ein Bus", "Bus"), "de"),
        ("00001/x/1", ("バス",), "en"),
    ]
    kinds = [("JPEG", 1), ("PNG", 2), ("WEBP", 3)]
    assert [e.read() for e in examples] == [picture(seed, kind=kind) for kind, seed in kinds]


def test_an_index_is_used_while_the_shard_is_the_same(tmp_path: Path) -> None:
    """Protects from an index of another shard: one that was rewritten is gone through again."""
    pattern = two_shards(tmp_path)
    first = list(shards.read(pattern))
    index = tmp_path / "00001.tar.index.json"
    index.write_text(index.read_text().replace("\\u30d0\\u30b9", "from the index"))
    assert shards.read(pattern)[2].captions == ("from the index",)
    assert list(shards.read(pattern, cache=False)) == first
    os.utime(tmp_path / "00001.tar", (1, 1))
    assert list(shards.read(pattern)) == first
    index.write_text("{")
    assert list(shards.read(pattern)) == first


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("1.txt", b"a")], "sample without an image"),
        ([("1.jpg", b"x")], "sample without a caption"),
        ([("1.jpg", b"x"), ("1.txt", b" \n")], "sample without a caption"),
        ([("1.jpg", b"x"), ("1.txt", b"\xff")], "sample without a caption"),
        ([("1.jpg", b"x"), ("1.json", b"[]")], "sample without a caption"),
        ([("1.jpg", b"x"), ("1.json", b"[" * 100_000)], "sample without a caption"),
        ([("1.jpg", b"x"), ("1.json", b'{"caption": 5}')], "sample without a caption"),
        ([("0.jpg", b"x"), ("1.txt", b"a"), ("0.txt", b"a")], "sample without a caption"),
    ],
)
def test_half_a_sample_is_named_or_counted(
    tmp_path: Path, members: list[tuple[str, bytes]], reason: str
) -> None:
    """Protects from silence over samples that lack a part; none of them is indexed away."""
    write_tar(tmp_path / "a.tar", [*members, ("z.jpg", b"z"), ("z.txt", b"last")])
    with pytest.raises(DataError, match=r"a\.tar: \d"):
        shards.read(str(tmp_path / "a.tar"))
    for _ in range(2):
        examples = shards.read(str(tmp_path / "a.tar"), strict=False)
        assert [e.captions for e in examples] == [("last",)]
        assert examples.left_out.counts[reason] == 1


def test_a_broken_tar_is_no_shorter_tar(tmp_path: Path) -> None:
    """Protects from shards that were cut or damaged, which the tar format itself takes for their end."""
    pattern = two_shards(tmp_path)
    shard = tmp_path / "00000.tar"
    whole = shard.read_bytes()
    start = shards.read(pattern, cache=False)[1].image.offset
    damaged = whole[: start - 512] + b"\xff" * 512 + whole[start:]
    for data in (whole[: start + 10], whole[: start - 512], damaged, b"no tar" * 200):
        shard.write_bytes(data)
        with pytest.raises(DataError, match=r"00000\.tar: it is no whole, uncompressed tar"):
            shards.read(pattern)
        examples = shards.read(pattern, strict=False)
        assert examples.left_out.counts["broken tar"] == 1
        assert examples[len(examples) - 1].key == "00001/x/1"


def test_an_image_that_was_cut_is_no_example(tmp_path: Path) -> None:
    """Protects from indexing an image whose bytes the tar no longer holds."""
    shard = tmp_path / "a.tar"
    write_tar(shard, [("1.txt", b"a"), ("1.jpg", picture(1)), ("2.txt", b"b"), ("2.jpg", picture(2))])
    last = shards.read(str(shard), cache=False)[1].image
    shard.write_bytes(shard.read_bytes()[: last.offset + 100])
    examples = shards.read(str(shard), strict=False)
    assert [e.key for e in examples] == ["a/1"]
    assert examples.left_out.counts["broken tar"] == 1


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    """Protects from members that stand for another file."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="must be an ordinary file"):
        shards.read(str(tmp_path / "a.tar"))


def test_shards_that_are_missing_or_ambiguous_are_named(tmp_path: Path) -> None:
    """Protects from training on fewer shards than were named, and from keys that stand for two images."""
    with pytest.raises(DataError, match=r"7\.tar is missing"):
        shards.read(str(tmp_path / "7.tar"))
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", [("1.jpg", b"x"), ("1.txt", b"a")])
    with pytest.raises(DataError, match="the same name"):
        shards.read(str(tmp_path / "{a,b}/0.tar"))


@given(names=st.lists(NAMES, max_size=4, unique=True))
@same_folder
def test_any_member_name_is_given_or_counted(tmp_path: Path, names: list[str]) -> None:
    """Protects shards from names of any length and letters."""
    members = [(f"{name}{kind}", b"a") for name in names for kind in (".jpg", ".txt")]
    write_tar(tmp_path / "a.tar", members)
    examples = shards.read(str(tmp_path / "a.tar"), cache=False, strict=False)
    assert len({e.key for e in examples}) == len(examples)
    assert len(examples) or examples.left_out.counts or not names


@given(at=st.integers(0, 3000), garbage=st.binary(min_size=1, max_size=600))
@same_folder
def test_no_bytes_break_the_reading_of_a_tar(tmp_path: Path, at: int, garbage: bytes) -> None:
    """Protects tolerant reading from damage anywhere: it ends, with examples or with counts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("1.jpg", b"x" * 700), ("1.txt", b"a"), ("2.jpg", b"y"), ("2.txt", b"b")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    whole = out.getvalue()
    (tmp_path / "a.tar").write_bytes(whole[:at] + garbage + whole[at + len(garbage) :])
    examples = shards.read(str(tmp_path / "a.tar"), cache=False, strict=False)
    assert all(example.captions for example in examples)
    assert len(examples) == 2 or examples.left_out.counts.total()
