"""Which files of a folder are images, and what becomes of everything else that lies in folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.search import folder as module
from babelclip.search.folder import EXCLUDED, find_images

JPEG = b"\xff\xd8\xff\xe0" + bytes(40)


def write(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def names(root: Path, **options: Any) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root, **options).images]


def test_every_format_of_the_tower_is_found_by_its_name(tmp_path: Path) -> None:
    """AVIF, HEIC and JPEG XL as well as JPEG, however the suffix is written."""
    wanted = [
        "a.jpg", "b.JPEG", "c.jpe", "d.JFIF", "e.png", "f.WebP", "g.gif", "h.bmp", "i.tif", "j.TIFF",
        "k.avif", "l.HEIC", "m.heif", "n.hif", "o.jxl", "p.MPO",
    ]  # fmt: skip
    write(tmp_path, *wanted, "notes.txt", "film.mov", "sound.mp3", "drawing.svg", "raw.NEF")
    assert names(tmp_path) == wanted


@pytest.mark.parametrize(
    "data",
    [
        JPEG,
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"GIF89a" + bytes(40),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
        b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40),
        b"\0\0\0\x1cftypavif" + bytes(40),
        b"\0\0\0\x1cftypheic" + bytes(40),
        b"\xff\x0a" + bytes(40),
    ],
)
def test_a_file_without_a_telling_name_is_found_by_its_bytes(tmp_path: Path, data: bytes) -> None:
    """What programs save without a suffix, or with one of their own, is an image by its content."""
    write(tmp_path, "IMG_1", "photo.jpg_large", "film.mp4", data=data)
    assert names(tmp_path) == ["IMG_1", "photo.jpg_large"]


@pytest.mark.parametrize(
    "data", [b"", b"BM is how this text begins, and it is none", b"II*\0" + bytes(40), b"ab"]
)
def test_other_bytes_are_no_image(tmp_path: Path, data: bytes) -> None:
    """A text, an empty file or a camera's raw data is not sent to the server because it has no suffix."""
    write(tmp_path, "README", "IMG_1.nef", data=data)
    assert names(tmp_path) == []


def test_what_disks_and_programs_keep_is_left_out(tmp_path: Path) -> None:
    """Thumbnails, recycle bins, hidden and system folders would only repeat or revive photographs."""
    write(tmp_path, "kept/one.jpg", "@eaDirs/two.jpg")
    for place in (
        "@eaDir", "@EADIR/IMG_1", "#recycle", "#snapshot", "@Recycle", ".@__thumb", ".thumbnails",
        "$RECYCLE.BIN/S-1-5", "$Recycle.Bin", "System Volume Information", "__MACOSX", ".hidden",
        "lost+found", "Mine.photoslibrary/resources/derivatives", "Catalog Previews.lrdata",
    ):  # fmt: skip
        write(tmp_path, f"deep/{place}/x.jpg")
    write(tmp_path, "kept/._one.jpg", "kept/.one.jpg", "Mine.photoslibrary/originals/three.jpg")
    found = ["@eaDirs/two.jpg", "Mine.photoslibrary/originals/three.jpg", "kept/one.jpg"]
    assert names(tmp_path) == found
    assert len(names(tmp_path, exclude_defaults=False)) == 20


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*_EDITED*", ["2019/private/c.jpg", "a.jpg", "x/2019/d.jpg"]),
        ("2019", ["a.jpg", "b_edited.jpg"]),
        ("2019/", ["a.jpg", "b_edited.jpg"]),
        ("2019/*", ["a.jpg", "b_edited.jpg", "x/2019/d.jpg"]),
        ("*/private", ["a.jpg", "b_edited.jpg", "x/2019/d.jpg"]),
        ("[ab]*.jpg", ["2019/private/c.jpg", "x/2019/d.jpg"]),
    ],
)
def test_patterns_leave_out_names_and_paths(tmp_path: Path, pattern: str, left: list[str]) -> None:
    """A pattern is of names, with a slash of paths; upper and lower case are one."""
    write(tmp_path, "a.jpg", "b_edited.jpg", "2019/private/c.jpg", "x/2019/d.jpg")
    assert names(tmp_path, exclude=[pattern]) == left


def test_the_folder_itself_may_have_any_name(tmp_path: Path) -> None:
    """Who asks for a hidden folder, or for a thumbnail folder, gets what is in it."""
    write(tmp_path, ".hidden/@eaDir/a.jpg")
    assert names(tmp_path / ".hidden" / "@eaDir") == ["a.jpg"]


def test_links_end_nothing(tmp_path: Path) -> None:
    """Links that lead up or to themselves are no way round, and a link to a photograph is one."""
    write(tmp_path, "a.jpg", "outside/b.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "up").symlink_to(root)
    (root / "folder.jpg").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root / "loop")
    (root / "linked.jpg").symlink_to(tmp_path / "a.jpg")
    assert names(root) == ["linked.jpg"]


def test_pipes_and_sockets_block_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no file is not opened; named as an image it is found, and refused when it would be read."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # The address of a socket is short.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert names(tmp_path) == ["pipe.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without permission is not an empty one: it is skipped with its reason."""
    write(tmp_path, "a.jpg", "closed/b.jpg")
    listing = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_images(tmp_path)
    assert [path.name for path in found.images] == ["a.jpg"]
    (skip,) = found.skipped
    assert (skip.path, skip.code) == (str(tmp_path / "closed"), "unreadable_folder")
    assert skip.message == f"cannot list {tmp_path / 'closed'}: Permission denied"
    with pytest.raises(PermissionError):
        find_images(tmp_path / "closed")


def test_names_that_are_not_utf8_are_found(tmp_path: Path) -> None:
    """A name from an old disk, of bytes that are no UTF-8, is a name."""
    for name in (b"\xff.jpg", b"\xe4rzte"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(JPEG)
    assert sorted(os.fsencode(path.name) for path in find_images(tmp_path).images) == [
        b"\xe4rzte",
        b"\xff.jpg",
    ]


@given(st.binary(max_size=40))
def test_any_beginning_is_an_image_or_none(data: bytes) -> None:
    """Looking at the first bytes of a file ends with an answer, whatever they are."""
    assert module._begins_as_image(data) in (True, False)


def test_the_defaults_can_be_read() -> None:
    """Who wants all but one of them starts from the list."""
    assert "@eaDir" in EXCLUDED
