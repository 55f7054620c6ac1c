"""A model store brought from an HTTP server: what arrives, what is refused, what is not brought again."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import fetch_models
import numpy as np
import pytest

from babelclip.model_store.archives import archives, check_archive
from babelclip.model_store.manifest import read_manifest

VECTOR = base64.b64encode(np.ones(4, "<f4").tobytes()).decode()
MARS = {"mini text.mar": b"the text tower" * 5000, "mini-vision.mar": b"the vision tower"}


def manifest(**changed: str) -> bytes:
    """A manifest that names MARS; `changed` has other digests by tower."""

    def tower(name: str, mar: str) -> dict[str, str]:
        return {"mar": mar, "sha256": changed.get(name, hashlib.sha256(MARS[mar]).hexdigest())}

    canary = {"min_cosine": 0.99} | {name: {"input": "QQ==", "vector": VECTOR} for name in ("text", "vision")}
    space = {"name": "mini", "space": "s", "version": "1.0", "default": True, "canary": canary}
    space |= {"text": tower("text", "mini text.mar"), "vision": tower("vision", "mini-vision.mar")}
    return json.dumps({"format": 1, "spaces": [space]}).encode()


class Files(ThreadingHTTPServer):
    """Serves `files` by path, and keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {f"/store/{name}": content for name, content in MARS.items()}
        self.files["/store/manifest.json"] = manifest()
        self.asked: list[str] = []
        self.url = f"http://user:secret@127.0.0.1:{self.server_port}/store/manifest.json?signature=hidden"


class _Answer(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(unquote(urlsplit(self.path).path))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Files]:
    """A server of files that runs."""
    with Files() as files:
        thread = threading.Thread(target=files.serve_forever, args=(0.02,))
        thread.start()
        yield files
        files.shutdown()
        thread.join()


def run(server: Files, store: Path, sha256: str | None = None) -> int:
    """The command, for the manifest that the server has unless another digest is given; its exit status."""
    digest = sha256 or hashlib.sha256(server.files["/store/manifest.json"]).hexdigest()
    return fetch_models.main([server.url, "--sha256", digest, "--store", str(store)])


def test_a_store_arrives_whole(server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Manifest and archives are there and agree, the query went with each request, no secret was shown."""
    assert run(server, tmp_path / "store") == 0
    found = read_manifest(tmp_path / "store")
    for archive in archives(tmp_path / "store", found.default).values():
        check_archive(archive)
    assert len(server.asked) == 3
    assert all(path.endswith("?signature=hidden") for path in server.asked)
    said = "".join(capsys.readouterr())
    assert "secret" not in said
    assert "hidden" not in said


def test_a_second_start_asks_for_nothing(server: Files, tmp_path: Path) -> None:
    """A store that is what was asked for is served without a network."""
    assert run(server, tmp_path) == 0
    server.asked.clear()
    assert run(server, tmp_path) == 0
    assert not server.asked


def test_only_what_differs_is_brought_again(server: Files, tmp_path: Path) -> None:
    """An archive that was damaged on the disk is mended, and the others stay."""
    assert run(server, tmp_path) == 0
    server.asked.clear()
    (tmp_path / "mini-vision.mar").write_bytes(b"damaged")
    assert run(server, tmp_path) == 0
    assert [urlsplit(path).path for path in server.asked] == ["/store/mini-vision.mar"]
    assert (tmp_path / "mini-vision.mar").read_bytes() == MARS["mini-vision.mar"]


def test_another_manifest_is_refused(
    server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who changes the manifest on the server changes nothing here."""
    assert run(server, tmp_path, sha256="0" * 64) == 1
    assert "SHA-256" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_archive_is_refused(
    server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive is code: what is not the manifest's is not left on the disk, and no manifest names it."""
    server.files["/store/mini-vision.mar"] = b"something else"
    assert run(server, tmp_path) == 1
    assert "mini-vision.mar is not the archive of the manifest" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mini text.mar"]


def test_a_failure_keeps_the_store_before(server: Files, tmp_path: Path) -> None:
    """A new store that cannot be had whole leaves the one that is served as it is."""
    assert run(server, tmp_path) == 0
    before = (tmp_path / "manifest.json").read_bytes()
    server.files["/store/manifest.json"] = manifest(text="0" * 64)
    assert run(server, tmp_path) == 1
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert (tmp_path / "mini text.mar").read_bytes() == MARS["mini text.mar"]


def test_what_is_missing_is_named(server: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator reads which address did not answer, and how."""
    del server.files["/store/mini-vision.mar"]
    assert run(server, tmp_path) == 1
    assert "/store/mini-vision.mar answers 404 Not Found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "sha256", "said"),
    [
        ("file:///etc/passwd", "0" * 64, "http:// or https://"),
        ("https://", "0" * 64, "http:// or https://"),
        ("https://models.example.org/manifest.json", "abc", "64 hexadecimal digits"),
    ],
)
def test_bad_options_are_refused(
    url: str, sha256: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but HTTP is fetched, and never without a whole checksum."""
    with pytest.raises(SystemExit):
        fetch_models.main([url, "--sha256", sha256, "--store", str(tmp_path)])
    assert said in capsys.readouterr().err
