"""What holds of every storage, whether it is a folder or an object store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from batch.storage.base import Storage
from batch.storage.local import LocalStorage
from batch.storage.opening import open_storage
from batch.storage.remote import ObjectStorage

FILE = "vectors/part-0000001.parquet"


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty one of each kind; the objects are in fsspec's own memory."""
    if request.param == "folder":
        return LocalStorage(tmp_path / "out")
    return ObjectStorage(f"memory://{tmp_path.name}/out/")


def put(storage: Storage, name: str, data: bytes, **options: bool) -> None:
    """A file of this content."""
    with storage.writing(name, **options) as (path,):
        path.write_bytes(data)


def get(storage: Storage, name: str) -> bytes:
    """What a file holds."""
    with storage.reading(name) as file:
        return file.read()


def test_files_are_found_by_their_names(storage: Storage) -> None:
    """They are listed, read anywhere, replaced and removed; what is not there is no surprise."""
    assert storage.names("vectors") == []
    put(storage, FILE, b"first", shared=True)
    put(storage, FILE, b"second", shared=True)
    put(storage, "status.json", b"{}")
    assert storage.names("vectors") == ["part-0000001.parquet"]
    with storage.reading(FILE) as file:
        file.seek(3)
        assert file.read() == b"ond"
    storage.remove(FILE)
    storage.remove(FILE)
    assert storage.names("vectors") == []
    with pytest.raises(FileNotFoundError), storage.reading(FILE):
        pass


def test_after_an_error_nothing_is_there(storage: Storage) -> None:
    """What was half written is neither listed nor left."""

    def break_off(files: AbstractContextManager[tuple[Path, ...]]) -> None:
        with files as (path, _):
            path.write_bytes(b"half")
            raise ValueError("broken")

    for files in (storage.writing(FILE, "second"), storage.creating(FILE, "second")):
        with pytest.raises(ValueError, match="broken"):
            break_off(files)
    assert storage.names("vectors") == []


def test_a_manifest_is_created_once(storage: Storage) -> None:
    """The second to come is told so, and changes nothing of the first one's."""

    def create(data: bytes) -> None:
        with storage.creating("listing", "manifest") as (listing, manifest):
            listing.write_bytes(data)
            manifest.write_bytes(data)

    create(b"first")
    with pytest.raises(FileExistsError, match="manifest is there already"):
        create(b"second")
    assert (get(storage, "listing"), get(storage, "manifest")) == (b"first", b"first")


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    """In a folder; in an object store there is nothing of it."""
    storage = LocalStorage(tmp_path)
    put(storage, FILE, b"whole")
    (tmp_path / "vectors" / ".part-0000002.parquet.x.partial").write_bytes(b"half")
    storage.remove_partial("vectors")
    assert storage.names("vectors") == ["part-0000001.parquet"]


def test_a_place_is_a_folder_or_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is made absolute, for workers that stand elsewhere; of others it is said what is allowed."""
    monkeypatch.chdir(tmp_path)
    assert open_storage("out").address == str(tmp_path / "out")
    for place in ("https://host/out", "memory://out", "ftp://host/out", "zip::s3://bucket/out"):
        with pytest.raises(ValueError, match="no place for files: give a folder, or an address of s3://"):
            open_storage(place)


def test_errors_of_a_stores_package_are_errors_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a package raises when its store cannot be reached, its shard has failed, not its worker."""
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no route to host")

    storage = ObjectStorage(f"memory://{tmp_path.name}")
    calls: list[Callable[[], object]] = [
        lambda: storage.names("vectors"),
        lambda: put(storage, FILE, b""),
        lambda: get(storage, FILE),
        lambda: storage.remove(FILE),
    ]
    for name in ("ls", "put_file", "open", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    for call in calls:
        with pytest.raises(OSError, match=r"vectors.*: no route to host"):
            call()
