import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.training.datasets.file_site import FileSite, serving
from training.datasets import large_files
from training.datasets.fetching import Limits, client
from training.datasets.large_files import fetch_file
from training.datasets.rows import DataError

LIMITS = Limits(seconds=20.0, max_bytes=1_000_000, allow_private=True)
DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def site() -> Iterator[FileSite]:
    """One large file."""
    with serving(FileSite({"/big.zip": DATA})) as running:
        yield running


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with client("tests/1.0", LIMITS) as made:
        yield made


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "FIRST_REST", 0.001)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_not_asked_for_again(
    site: FileSite, web: httpx.Client, tmp_path: Path
) -> None:
    """Protects the plain case, through a redirect, with progress to the last byte."""
    site.redirects["/latest"] = "/big.zip"
    told: list[tuple[int, int]] = []
    for _ in range(2):
        fetch_file(
            web,
            f"{site.url}/latest",
            tmp_path / "new" / "big.zip",
            LIMITS,
            sha256=SHA256,
            progress=lambda done, due: told.append((done, due)),
        )
    assert (tmp_path / "new" / "big.zip").read_bytes() == DATA
    assert names(tmp_path / "new") == ["big.zip"]
    assert site.asked == [("/latest", ""), ("/big.zip", "")]
    assert told[-1] == (len(DATA), len(DATA))


def test_what_is_cut_goes_on_where_it_was(site: FileSite, web: httpx.Client, tmp_path: Path) -> None:
    """Protects hours of download from a connection that ends again and again, and a busy server."""
    site.failures["/big.zip"].extend(["cut", "busy", "cut", "cut_early", "cut"])
    fetch_file(web, f"{site.url}/big.zip", tmp_path / "big.zip", LIMITS, sha256=SHA256)
    assert (tmp_path / "big.zip").read_bytes() == DATA
    assert len(site.asked) == 6
    begins = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in site.asked[1:]]
    assert begins[0] == len(DATA) // 2
    assert begins == sorted(begins)
    assert names(tmp_path) == ["big.zip"]


def stopped(site: FileSite, web: httpx.Client, path: Path) -> None:
    """A run that gives up half way."""
    site.failures["/big.zip"].extend(["cut", "closed"])
    with pytest.raises(DataError, match=r"http 503; what came is kept, and the same command goes on"):
        fetch_file(web, f"{site.url}/big.zip", path, LIMITS)
    assert not path.exists()


def test_a_later_run_goes_on(site: FileSite, web: httpx.Client, tmp_path: Path) -> None:
    """Protects what an earlier run brought; also where it ended just before the file took its name."""
    path = tmp_path / "big.zip"
    stopped(site, web, path)
    site.asked.clear()
    fetch_file(web, f"{site.url}/big.zip", path, LIMITS, sha256=SHA256)
    assert site.asked == [("/big.zip", f"bytes={len(DATA) // 2}-")]
    assert path.read_bytes() == DATA

    other = tmp_path / "other.zip"
    stopped(site, web, other)
    partial = other.with_name(".other.zip.partial")
    partial.write_bytes(DATA)
    site.asked.clear()
    fetch_file(web, f"{site.url}/big.zip", other, LIMITS, sha256=SHA256)
    assert site.asked == []
    assert other.read_bytes() == DATA


@pytest.mark.parametrize("case", ["changed", "shorter", "no ranges", "no versions", "another address"])
def test_what_cannot_be_gone_on_with_begins_anew(
    site: FileSite, web: httpx.Client, tmp_path: Path, case: str
) -> None:
    """Protects from a file put together of two: a version that changed between two runs is fetched whole."""
    path, url, due = tmp_path / "big.zip", f"{site.url}/big.zip", DATA
    if case == "no versions":
        site.tags = False
    stopped(site, web, path)
    if case in ("changed", "shorter"):
        due = os.urandom(200_000 if case == "changed" else 100)
        site.files["/big.zip"] = due
    elif case == "no ranges":
        site.ranges = False
    elif case == "another address":
        site.files["/mirror.zip"] = due
        url = f"{site.url}/mirror.zip"
    fetch_file(web, url, path, LIMITS, sha256=hashlib.sha256(due).hexdigest())
    assert path.read_bytes() == due
    assert names(tmp_path) == ["big.zip"]


@pytest.mark.parametrize(
    ("failures", "says"),
    [
        (["gone"], "http 404"),
        (["cut_early"] * 3, "connection failed; what came is kept"),
        (["closed"], "http 503; what came is kept"),
        (["cut", "other_part"], "a part that was not asked for"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(
    site: FileSite, web: httpx.Client, tmp_path: Path, failures: list[str], says: str
) -> None:
    """Protects people from half a file under the whole one's name, and from tries without end."""
    site.failures["/big.zip"].extend(failures)
    with pytest.raises(DataError, match=f"big.zip cannot be fetched: {says}"):
        fetch_file(web, f"{site.url}/big.zip", tmp_path / "big.zip", LIMITS)
    assert len(site.asked) == len(failures)
    assert not (tmp_path / "big.zip").exists()


def test_a_server_that_falls_silent_is_given_up(site: FileSite, tmp_path: Path) -> None:
    """Protects a run from waiting for ever for bytes that do not come."""
    limits = Limits(seconds=0.2, max_bytes=1_000_000, allow_private=True)
    site.failures["/big.zip"].extend(["slow"] * 9)
    with (
        client("tests/1.0", limits) as impatient,
        pytest.raises(DataError, match="fetched: timeout; what came"),
    ):
        fetch_file(impatient, f"{site.url}/big.zip", tmp_path / "big.zip", limits)


def test_another_file_than_is_due_is_refused(site: FileSite, web: httpx.Client, tmp_path: Path) -> None:
    """Protects from a file that someone else made, and the disk from one without end."""
    with pytest.raises(DataError, match=f"its SHA-256 is {SHA256}, not 00"):
        fetch_file(web, f"{site.url}/big.zip", tmp_path / "big.zip", LIMITS, sha256="00")
    small = Limits(seconds=20.0, max_bytes=1000, allow_private=True)
    with pytest.raises(DataError, match="it has 300,000 bytes, and 1,000 are allowed"):
        fetch_file(web, f"{site.url}/big.zip", tmp_path / "big.zip", small)
    with pytest.raises(DataError, match="private address"):
        fetch_file(web, f"{site.url}/big.zip", tmp_path / "big.zip", Limits())
