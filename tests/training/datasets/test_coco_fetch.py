import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.datasets.file_site import FileSite, serving
from tests.training.datasets.folders import picture
from training.datasets import coco, coco_fetch, downloads, large_files
from training.datasets.rows import DataError


def captions(names: list[str]) -> bytes:
    rows = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    texts = [{"image_id": n, "caption": f"caption {n}"} for n in range(len(names))]
    return json.dumps({"images": rows, "annotations": texts}).encode()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"annotations/{name}.json", data)
    return out.getvalue()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSite]:
    """COCO 2017 with four images to train on and two for validation, one of which is gone."""
    train, val = ([f"{n:012}.jpg" for n in numbers] for numbers in ((1, 2, 3, 4), (8, 9)))
    archive = zipped(captions_train2017=captions(train), captions_val2017=captions(val), instances=b"{}")
    files = {f"/train2017/{name}": picture(n) for n, name in enumerate(train)}
    files["/val2017/000000000008.jpg"] = picture(8)
    files["/annotations/annotations_trainval2017.zip"] = archive
    monkeypatch.setitem(coco_fetch.CHECKSUMS, 2017, hashlib.sha256(archive).hexdigest())
    for module in (downloads, large_files):
        monkeypatch.setattr(module, "FIRST_REST", 0.001)
    with serving(FileSite(files)) as running:
        yield running


def fetch(site: FileSite, folder: Path, *flags: str) -> None:
    coco_fetch.main(["fetch", str(folder), "--year", "2017", "--base-url", f"{site.url}/", *flags])


def test_what_was_fetched_can_be_read(
    site: FileSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the command from end to end: captions and images as the reader takes them, and the account."""
    fetch(site, tmp_path)
    assert capsys.readouterr().out.split("\n")[:2] == ["        5 success", "        1 http 404"]
    train = coco.read(tmp_path / "annotations" / "captions_train2017.json", tmp_path / "train2017")
    assert [(one.key, one.captions) for one in train] == [(str(n), (f"caption {n}",)) for n in range(4)]
    assert train[2].image.read() == picture(2)
    assert not (tmp_path / "annotations" / "instances.json").exists()

    asked = len(site.asked)
    fetch(site, tmp_path)
    assert len(site.asked) == asked  # nothing is asked for twice
    site.files["/val2017/000000000009.jpg"] = picture(9)
    fetch(site, tmp_path, "--retry", "--split", "val")
    assert site.asked[asked:] == [("/val2017/000000000009.jpg", "")]
    assert (tmp_path / "val2017" / "000000000009.jpg").read_bytes() == picture(9)


def test_a_limit_takes_the_first_images_of_each_split(site: FileSite, tmp_path: Path) -> None:
    """Protects a small beginning, which a later run goes on from; captions without an image are counted."""
    fetch(site, tmp_path, "--limit", "1")
    images = sorted(path.name for path in tmp_path.glob("*2017/*.jpg"))
    assert images == ["000000000001.jpg", "000000000008.jpg"]
    place = tmp_path / "annotations" / "captions_train2017.json", tmp_path / "train2017"
    found = coco.read(*place, strict=False)
    assert (len(found), found.left_out.counts["missing image"]) == (1, 3)
    fetch(site, tmp_path, "--limit", "3", "--split", "train")
    assert len(coco.read(*place, strict=False)) == 3
    assert site.times("/annotations/annotations_trainval2017.zip") == 1
    assert site.times("/train2017/000000000001.jpg") == 1


def test_failures_on_the_way_leave_the_same_files(site: FileSite, tmp_path: Path) -> None:
    """Protects the data set from connections that end and busy servers: resumed to the same files."""
    fetch(site, tmp_path / "whole")
    site.failures["/annotations/annotations_trainval2017.zip"].extend(["cut", "busy"])
    site.failures["/train2017/000000000002.jpg"].extend(["busy", "cut"])
    fetch(site, tmp_path / "hard")

    def contents(folder: Path) -> dict[str, bytes]:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "fetched.json")
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert contents(tmp_path / "hard") == contents(tmp_path / "whole")


def test_an_archive_that_is_not_cocos_is_refused(
    site: FileSite, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from captions of someone else, and from names that lead out of the folder."""
    path = "/annotations/annotations_trainval2017.zip"

    def refused(data: bytes, *, checked: bool = True) -> str:
        site.files[path] = data
        if checked:
            monkeypatch.setitem(coco_fetch.CHECKSUMS, 2017, hashlib.sha256(data).hexdigest())
        (tmp_path / "annotations_trainval2017.zip").unlink(missing_ok=True)
        (tmp_path / "annotations" / "captions_train2017.json").unlink(missing_ok=True)
        with pytest.raises(SystemExit, match="1"):
            fetch(site, tmp_path)
        return capsys.readouterr().err

    assert "is not the file that is due" in refused(b"PK", checked=False)
    assert "is no sound ZIP file" in refused(b"PK")
    assert "has no annotations/captions_train2017.json" in refused(zipped(other=b"{}"))
    for bad in (
        captions(["../../x.jpg"]),
        captions(["a/b.jpg"]),
        b"[]",
        b'{"images": [1]}',
        b'{"images": []}',
    ):
        assert 'must have an array "images"' in refused(zipped(captions_train2017=bad))
    assert "is no JSON" in refused(zipped(captions_train2017=b"{"))


def test_a_broken_member_is_noticed(tmp_path: Path) -> None:
    """Protects captions from a disk's fault: the checksum of a file within the archive is checked."""
    data = bytearray(zipped(captions_train2017=captions(["1.jpg"])))
    data[80] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="no sound ZIP file: Bad CRC"):
        coco_fetch.extract(tmp_path / "a.zip", "annotations/captions_train2017.json", tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()
