"""Names of the hub, against a server that answers as the hub does."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest

from tests.systems import families
from training import hub, sources
from training.checkpoint import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories in memory: {name: {file: content}}; `asked` has the files that were fetched."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, with_body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, with_body=False)

            def log_message(self, *_: object) -> None:
                """Nothing: a test's output is pytest's."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name: str, folder: Path) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[name] = {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        parts = request.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if api else parts
        files = self.repositories.get(f"{owner}/{name}")
        headers, body, status = {"X-Repo-Commit": COMMIT}, b"", 200
        if files is None:
            status, headers["X-Error-Code"] = 404, "RepoNotFound"
        elif api and rest[:1] in ([], ["revision"]):
            listed = [{"rfilename": file} for file in files]
            body = json.dumps({"id": f"{owner}/{name}", "sha": COMMIT, "siblings": listed}).encode()
        elif api and rest[:1] == ["tree"]:
            listed = [
                {"type": "file", "path": file, "oid": COMMIT, "size": len(content)}
                for file, content in files.items()
            ]
            body = json.dumps(listed).encode()
        else:
            file = "/".join(rest[2:])
            body = files[file]
            headers["ETag"] = f'"{hashlib.sha1(body).hexdigest()}"'
            self.asked.append(file)
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if with_body:
            request.wfile.write(body)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    running = Hub()
    for name, value in (
        ("ENDPOINT", running.url),
        ("HF_HUB_OFFLINE", False),
        ("HF_HOME", str(tmp_path / "home")),
    ):
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub, "ENDPOINT", running.url)
    monkeypatch.setattr(hub, "CACHE", tmp_path / "cache")
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_a_model_is_fetched_by_its_name_without_what_is_not_needed(served: Hub, tmp_path: Path) -> None:
    """hf-hub:ORGANISATION/NAME loads like the same folder, and one form of the weights is fetched."""
    folder = tmp_path / "laion"
    families.laion_base(folder, true=False)
    for surplus in ("open_clip_pytorch_model.bin", "pytorch_model.bin", "README.md"):
        (folder / surplus).write_bytes(b"large")
    served.add("laion/tiny", folder)
    fetched = sources.locate("hf-hub:laion/tiny")
    assert sources.space_of(fetched) == sources.space_of(folder)
    loaded = sources.load(fetched)
    assert (loaded.meta["dim"], loaded.meta["name"]) == (16, "laion--tiny")
    assert not {"open_clip_pytorch_model.bin", "pytorch_model.bin", "README.md"} & set(served.asked)


def test_heads_come_with_the_models_they_were_trained_on(served: Hub, tmp_path: Path) -> None:
    """Two projection heads from the hub are usable at once: their frozen towers are fetched beside them."""
    folder = tmp_path / "heads"
    families.gzomer(folder, true=False)
    for part, name in hub.BASES.items():
        served.add(name, folder / part)
        shutil.rmtree(folder / part)
    served.add("gzomer/tiny", folder)
    assert sources.load(sources.locate("hf-hub:gzomer/tiny")).meta["dim"] == 512


@pytest.mark.parametrize(
    "name", ["hf-hub:nobody/nothing", "hf-hub:nobody/nothing@v1", "hf-hub:", "hf-hub:x/y/z"]
)
def test_what_the_hub_does_not_have_is_said_in_one_line(served: Hub, name: str) -> None:
    """A wrong name is an error that repeats it, not a stack trace."""
    with pytest.raises(CheckpointError) as caught:
        sources.locate(name)
    assert name.partition("@")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_named() -> None:
    """A mistyped folder is told from a folder of the wrong kind."""
    with pytest.raises(CheckpointError, match="models/typo: no such file or folder"):
        sources.locate("models/typo")
