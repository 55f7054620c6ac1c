"""Names of the hub, against a server that answers as the hub does."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest

from models.checkpoint import CheckpointError
from models.loaders import hub, open_clip, pairs, registry
from tests.systems import families, open_clip_families, pair_families

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories in memory: {name: {file: content}}; `asked` has the files that were fetched.

    `requests` counts all that was asked, and `down` answers it as a hub does that is out of order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.requests, self.down = 0, False
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
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, name: str, folder: Path) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[name] = {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        parts = request.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if api else parts
        files = self.repositories.get(f"{owner}/{name}")
        headers, body, status = {"X-Repo-Commit": COMMIT}, b"", 200
        self.requests += 1
        if self.down:
            status = 503
        elif files is None:
            status, headers["X-Error-Code"] = 404, "RepoNotFound"
        elif api and rest[:1] in ([], ["revision"]):
            listed: list[dict[str, Any]] = [{"rfilename": file} for file in files]
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
    running.stop()


def test_a_model_is_fetched_by_its_name_without_what_is_not_needed(served: Hub, tmp_path: Path) -> None:
    """hf-hub:ORGANISATION/NAME loads like the same folder, and one form of the weights is fetched."""
    folder = tmp_path / "laion"
    families.laion_base(folder, true=False)
    for surplus in ("open_clip_pytorch_model.bin", "pytorch_model.bin", "README.md"):
        (folder / surplus).write_bytes(b"large")
    served.add("laion/tiny", folder)
    fetched = registry.locate("hf-hub:laion/tiny")
    assert registry.space_of(fetched) == registry.space_of(folder)
    loaded = registry.load(fetched)
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
    assert registry.load(registry.locate("hf-hub:gzomer/tiny")).meta["dim"] == 512


def test_of_two_forms_the_complete_one_is_fetched(served: Hub, tmp_path: Path) -> None:
    """Many repositories have open_clip's files, of a text model that is not taken, beside transformers'."""
    folder = tmp_path / "clip"
    families.clip(folder, true=False)
    described = {"model_cfg": {"embed_dim": 16, "vision_cfg": {}, "text_cfg": {"width": 32}}}
    (folder / open_clip.CONFIG).write_text(json.dumps(described))
    for surplus in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin"):
        (folder / surplus).write_bytes(b"large")
    served.add("laion/clip", folder)
    loaded = registry.load(registry.locate("hf-hub:laion/clip"))
    assert (loaded.meta["source"], loaded.meta["space"]) == ("CLIPModel", registry.space_of(folder))
    assert {name for name in served.asked if "model." in name} == {"model.safetensors"}


def test_a_checkpoint_of_this_project_comes_from_the_hub_too(served: Hub, tmp_path: Path) -> None:
    """Whoever publishes a model that was trained here gives it by its name like any other."""
    families.own(tmp_path / "own", true=False)
    served.add("someone/own", tmp_path / "own")
    assert registry.load(registry.locate("hf-hub:someone/own")).meta["space"] == registry.space_of(
        tmp_path / "own"
    )


def test_offline_the_cached_snapshot_is_used_at_once(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With HF_HUB_OFFLINE=1 nothing is asked of the network, and what was fetched before is loaded."""
    families.laion_base(tmp_path / "laion", true=False)
    served.add("laion/tiny", tmp_path / "laion")
    before = registry.space_of(registry.locate("hf-hub:laion/tiny"))
    asked = served.requests
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("hf-hub:laion/tiny", "hf-hub:laion/tiny@main", f"hf-hub:laion/tiny@{COMMIT}"):
        assert registry.load(registry.locate(name)).meta["space"] == before
    assert served.requests == asked


@pytest.mark.parametrize("gone", [True, False])
def test_without_the_hub_the_cached_snapshot_is_used_after_one_try(
    served: Hub, tmp_path: Path, gone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """No network and a hub that is out of order cost one request, however many models a source is made of."""
    folder = tmp_path / "heads"
    families.gzomer(folder, true=False)
    for part, name in hub.BASES.items():
        served.add(name, folder / part)
        shutil.rmtree(folder / part)
    served.add("gzomer/tiny", folder)
    before = registry.space_of(registry.locate("hf-hub:gzomer/tiny"))
    asked, served.down = served.requests, True
    if gone:
        served.stop()
    assert registry.load(registry.locate("hf-hub:gzomer/tiny")).meta["space"] == before
    assert served.requests == asked + (not gone)
    [said] = [line for line in capsys.readouterr().err.splitlines() if "cannot be reached" in line]
    assert said.startswith("hf-hub:gzomer/tiny: the hub cannot be reached: ")
    assert said.endswith("looking into the cache")


@pytest.mark.parametrize(
    ("offline", "says"), [(True, "HF_HUB_OFFLINE forbids"), (False, "the hub cannot be reached: ")]
)
def test_what_is_not_cached_is_said_in_one_line(
    served: Hub, tmp_path: Path, offline: bool, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is neither at hand nor to be had is told so, with the cache that was looked into."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    served.stop()
    with pytest.raises(CheckpointError) as caught:
        registry.locate("hf-hub:laion/tiny@v2")
    assert says in str(caught.value)
    assert f"hf-hub:laion/tiny@v2 is not in the cache {tmp_path / 'cache'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_of_another_tool_serves_as_it_is(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that transformers fetched one by one are a snapshot too, in a cache that is only to be read."""
    families.laion_base(tmp_path / "laion", true=False)
    snapshot = tmp_path / "cache/models--laion--tiny"
    shutil.copytree(tmp_path / "laion", snapshot / "snapshots" / COMMIT)
    (snapshot / "refs").mkdir()
    (snapshot / "refs/main").write_text(COMMIT)
    (tmp_path / "cache/babelclip").write_text("no folder, so that none can be made in it")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    loaded = registry.load(registry.locate("hf-hub:laion/tiny"))
    assert (loaded.meta["name"], loaded.meta["space"]) == (
        "laion--tiny",
        registry.space_of(tmp_path / "laion"),
    )


def test_processes_may_fetch_one_model_at_once(tmp_path: Path) -> None:
    """All processes of a training run name the same model; none may find it half linked."""
    target, parts = tmp_path / "target", [f"part-{number}" for number in range(50)]
    target.mkdir()
    for part in parts:
        (target / part).write_text(part)
    links = {part: target / part for part in parts}
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: hub._linked(tmp_path / "made", links), range(32)))
    assert set(made) == {tmp_path / "made"}
    assert sorted(path.read_text() for path in (tmp_path / "made").iterdir()) == sorted(parts)


@pytest.mark.parametrize(
    "name", ["hf-hub:nobody/nothing", "hf-hub:nobody/nothing@v1", "hf-hub:", "hf-hub:x/y/z"]
)
def test_what_the_hub_does_not_have_is_said_in_one_line(served: Hub, name: str) -> None:
    """A wrong name is an error that repeats it, not a stack trace."""
    with pytest.raises(CheckpointError) as caught:
        registry.locate(name)
    assert name.partition("@")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_named() -> None:
    """A mistyped folder is told from a folder of the wrong kind."""
    with pytest.raises(CheckpointError, match="models/typo: no such file or folder"):
        registry.locate("models/typo")


def test_a_name_of_the_hub_without_its_prefix_is_recognised() -> None:
    """Other tools take the bare name; what it is called here is said."""
    with pytest.raises(CheckpointError, match="on the hub it would be hf-hub:openai/clip-vit-base-patch32"):
        registry.locate("openai/clip-vit-base-patch32")


@pytest.mark.parametrize("name", list(pair_families.FAMILIES))
def test_a_text_tower_comes_with_the_clip_that_it_goes_with(
    served: Hub, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of the hub is enough where it is known which CLIP is meant, and another one can be named."""
    folder = tmp_path / "pair"
    pair_families.FAMILIES[name](folder, true=False)
    served.add("someone/text", folder / "text")
    for clip in ("someone/clip", "someone/other"):
        served.add(clip, folder / "vision")
        served.repositories[clip]["README.md"] = b"large"
    monkeypatch.setattr(pairs, "CLIPS", {"someone/text": "someone/clip"})
    loaded = registry.load(registry.locate("hf-hub:someone/text"))
    assert (loaded.meta["name"], loaded.meta["space"]) == ("someone--text", registry.space_of(folder))
    asked = len(served.asked)
    named = registry.locate("hf-hub:someone/text", "hf-hub:someone/other")
    assert registry.load(named).meta["space"] == loaded.meta["space"]
    assert "README.md" not in served.asked
    assert asked < len(served.asked)


def test_of_two_forms_that_are_complete_one_is_fetched(served: Hub, tmp_path: Path) -> None:
    """LAION's CLIPs are published in both; where transformers' weights lack, open_clip's are fetched."""
    folder = tmp_path / "clip"
    open_clip_families.vit_b_32(folder, true=False)
    families.clip(folder, true=False)
    served.add("laion/clip", folder)
    assert registry.load(registry.locate("hf-hub:laion/clip")).meta["source"] == "CLIPModel"
    assert "open_clip_model.safetensors" not in served.asked
    (folder / "model.safetensors").unlink()
    served.add("laion/other", folder)
    loaded = registry.load(registry.locate("hf-hub:laion/other"))
    assert (loaded.meta["source"], loaded.meta["space"]) == ("open_clip CLIP", registry.space_of(folder))
