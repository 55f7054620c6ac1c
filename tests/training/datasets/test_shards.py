import csv
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.folders import picture, write_tar
from training.datasets import shards, tables
from training.datasets.examples import TarMember
from training.datasets.rows import DataError

same_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=120)


def two_shards(folder: Path) -> str:
    about = {"caption": ["ein Bus", "Bus"], "language": "de"}
    write_tar(
        folder / "00000.tar",
        [
            ("x/1.jpg", picture(1)),
            ("x/1.txt", b"a bus\r\n\n in the rain\n"),
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
        ("00000/x/1", ("a bus in the rain",), "en"),
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
    image = shards.read(pattern, cache=False)[1].image
    assert isinstance(image, TarMember)
    start = image.offset
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
    assert isinstance(last, TarMember)
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


def test_gaps_in_shards_are_counted_once(tmp_path: Path) -> None:
    """Protects runs on what img2dataset left: shards that were never written cost themselves alone."""
    two_shards(tmp_path)
    pattern = str(tmp_path / "{00000..00006}.tar")
    examples = shards.read(pattern, strict=False)
    assert len(examples) == 3
    assert examples.left_out.counts == {"missing shard": 5}
    lines = str(examples.left_out).splitlines()
    assert lines[0] == "5 left out: missing shard"
    assert [line for line in lines if "00002.tar: there is no such file" in line]
    with pytest.raises(DataError, match=r"00002\.tar: there is no such file"):
        shards.read(pattern)


def test_a_shard_that_cannot_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects runs from one file of another owner, or on a failing disk."""
    pattern = two_shards(tmp_path)

    def refuse(path: Path, *arguments: Any) -> IO[Any]:
        if path.name == "00000.tar":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments)

    real: Callable[..., IO[Any]] = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    examples = shards.read(pattern, cache=False, strict=False)
    assert [e.key for e in examples] == ["00001/x/1"]
    assert examples.left_out.counts == {"unreadable shard": 1}


@pytest.mark.parametrize("text", ["a bus\nin the rain", "a bus \r\n\r\n in the rain\n", "a bus in the rain"])
def test_a_caption_is_one_wherever_it_is_written(tmp_path: Path, text: str) -> None:
    """Protects a wrapped caption from becoming two, and from another reading in .json or a table."""
    about = json.dumps({"caption": text}).encode()
    members = [("1.jpg", picture(1)), ("1.txt", text.encode()), ("2.jpg", picture(2)), ("2.json", about)]
    write_tar(tmp_path / "a.tar", members)
    (tmp_path / "1.jpg").write_bytes(picture(1))
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("filepath", "title"), ("1.jpg", text)])
    read = [*shards.read(str(tmp_path / "a.tar")), *tables.read(tmp_path / "t.csv")]
    assert [example.captions for example in read] == [("a bus in the rain",)] * 3


def test_shards_of_clip_benchmark_have_a_caption_a_line(tmp_path: Path) -> None:
    """Protects training on shards that were made to evaluate on; an index of the other form is not used."""
    write_tar(tmp_path / "a.tar", [("1.jpg", picture(1)), ("1.txt", b"a bus\r\n\na red bus\n")])
    pattern = str(tmp_path / "a.tar")
    for _ in range(2):
        assert shards.read(pattern)[0].captions == ("a bus a red bus",)
        assert shards.read(pattern, caption_lines=True)[0].captions == ("a bus", "a red bus")


def test_captions_may_be_in_another_field(tmp_path: Path) -> None:
    """Protects data sets with captions written anew; where the field is missing, those there are named."""
    about = [{"recaption": ["ein Bus", "Bus"], "lang": "de", "caption": "no"}, {"url": "x", "caption": "no"}]
    members = [
        (f"{number}.{kind}", data)
        for number, fields in enumerate(about)
        for kind, data in (("jpg", picture(1)), ("txt", b"no"), ("json", json.dumps(fields).encode()))
    ]
    write_tar(tmp_path / "a.tar", members)
    names: dict[str, Any] = {"caption_field": "recaption", "language_field": "lang"}
    examples = shards.read(str(tmp_path / "a.tar"), strict=False, **names)
    assert [(e.captions, e.language) for e in examples] == [(("ein Bus", "Bus"), "de")]
    assert "a caption 'recaption' of .json, a text or an array of texts; there is url, caption" in str(
        examples.left_out
    )


def test_files_that_macos_hides_part_no_sample(tmp_path: Path) -> None:
    """Protects tars made on a Mac, which have a file ._NAME before every file."""
    members = [
        (f"{hidden}{n}.{kind}", b"a") for n in "12" for kind in ("jpg", "txt") for hidden in ("._", "")
    ]
    write_tar(tmp_path / "a.tar", members)
    examples = shards.read(str(tmp_path / "a.tar"))
    assert [e.key for e in examples] == ["a/1", "a/2"]
    assert examples.left_out.counts == {"hidden file in a tar": 4}


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
