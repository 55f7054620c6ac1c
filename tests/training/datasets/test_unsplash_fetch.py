import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.datasets.file_site import FileSite, serving
from tests.training.datasets.folders import picture
from training.datasets import downloads, large_files, unsplash, unsplash_fetch

COLUMNS = ("photo_id", "photo_url", "photo_image_url", "photo_description", "photographer_username")


def table(url: str, ids: list[str], separator: str = "\t") -> bytes:
    rows = [COLUMNS]
    for number, key in enumerate(ids):
        page, image = f"https://unsplash.com/photos/{key}", f"{url}/photo-{number}"
        rows.append((key, page, image, 'a "quiet" lake', "ada"))
    lines = (
        separator.join(
            f'"{cell}"'.replace('"quiet"', '""quiet""') if separator == "," else cell for cell in row
        )
        for row in rows
    )
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSite]:
    """The public list of four photos, behind a redirect, and the photos themselves."""
    for module in (downloads, large_files):
        monkeypatch.setattr(module, "FIRST_REST", 0.001)
    site = FileSite({f"/photo-{n}": picture(n) for n in range(4)}, {"/data/lite/latest": "/lite.zip"})
    with serving(site) as running:
        publish(running, table(running.url, ["aB-1", "_c2", "d3", "e4"]))
        yield running


def publish(site: FileSite, content: bytes, name: str = "photos.tsv000") -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"lite/{name}", content)
        archive.writestr("lite/colors.tsv000", b"x")
    site.files["/lite.zip"] = out.getvalue()


def fetch(site: FileSite, folder: Path, *flags: str) -> None:
    unsplash_fetch.main(["fetch", str(folder), "--list-url", f"{site.url}/data/lite/latest", *flags])


def test_what_was_fetched_can_be_read(site: FileSite, tmp_path: Path) -> None:
    """Protects the command from end to end: photos as the reader takes them, of the width asked for."""
    folder = tmp_path / "unsplash"
    fetch(site, folder, "--limit", "2")
    fetch(site, folder)
    photos = unsplash.read(folder)
    assert [photo.key for photo in photos] == ["_c2", "aB-1", "d3", "e4"]
    assert photos[1].read() == picture(0)
    assert photos[1].url == f"{site.url}/photo-0?w=400&q=80&fm=jpg&fit=max"
    assert [site.times(f"/photo-{n}") for n in range(4)] == [1, 1, 1, 1]
    assert site.times("/lite.zip") == 1
    about = json.loads((folder / "images" / "aB-1.json").read_text(encoding="utf-8"))
    assert about["links"]["html"] == "https://unsplash.com/photos/aB-1"
    assert (about["user"]["username"], about["description"]) == ("ada", 'a "quiet" lake')


def test_a_list_that_lies_there_is_taken(site: FileSite, tmp_path: Path) -> None:
    """Protects a list that was fetched by hand, and newer ones, which are called and parted otherwise."""
    (tmp_path / "photos.csv000").write_bytes(table(site.url, ["x1"], separator=","))
    fetch(site, tmp_path)
    assert [photo.key for photo in unsplash.read(tmp_path)] == ["x1"]
    assert site.times("/lite.zip") == 0


def test_rows_that_are_wrong_are_left_out(
    site: FileSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the folder from ids that lead out of it, and the run from one bad row."""
    rows = table(site.url, ["../x", "fine", "a/b", ""]) + b"short\trow\n"
    rows += "\t".join(("odd", "u", "file:///etc/passwd", "d", "n")).encode() + b"\n"
    publish(site, rows)
    fetch(site, tmp_path)
    assert [photo.key for photo in unsplash.read(tmp_path)] == ["fine"]
    counts = dict(line.strip().split(" ", 1)[::-1] for line in capsys.readouterr().out.splitlines())
    assert counts == {
        "success": "1",
        "malformed id": "3",
        "malformed address": "1",
        "wrong number of cells": "1",
    }


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"PK", "is no sound ZIP file"),
        ("keywords.tsv000", "has no photos.tsv000"),
        ("photos.tsv000", "a column 'photo_image_url' must stand once"),
    ],
)
def test_a_list_that_is_none_is_a_sentence(
    site: FileSite, tmp_path: Path, archive: bytes | str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects people from a traceback when the list is not what it was."""
    if isinstance(archive, bytes):
        site.files["/lite.zip"] = archive
    else:
        publish(site, b"photo_id\tother\n", archive)
    with pytest.raises(SystemExit, match="1"):
        fetch(site, tmp_path)
    assert says in capsys.readouterr().err


def test_the_list_is_not_there(site: FileSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects people from a traceback where the list has moved."""
    site.failures["/lite.zip"].append("gone")
    with pytest.raises(SystemExit, match="1"):
        fetch(site, tmp_path)
    assert "cannot be fetched: http 404" in capsys.readouterr().err
