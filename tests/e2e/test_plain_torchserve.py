"""TorchServe without this repository: its own command, our settings and archives, nothing else of ours."""

import contextlib
import json
import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from babelclip import BabelclipError, Client
from serving.settings import free_ports
from tests.conftest import run
from tests.e2e.support import PATIENCE, alive
from tests.environments import make_environment
from tests.places import REPOSITORY


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the packages of the serve group, and neither babelclip nor this repository."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    environment = tmp_path_factory.mktemp("bare")
    python = make_environment(environment, declared["dependency-groups"]["serve"])
    for package in ("handlers", "babelclip", "transformers"):
        found = run(
            python, "-c", f"import importlib.util as u; print(u.find_spec({package!r}))", cwd=environment
        )
        assert found.strip() == "None"
    return python


@pytest.fixture(scope="module")
def site(
    store: Path, bare_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """`torchserve --start` as config.properties shows it, in a folder of settings and archives only."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(REPOSITORY / "deploy" / "torchserve", folder / "deploy" / "torchserve")
    (folder / "model_store").mkdir()
    for archive in store.glob("*.mar"):
        shutil.copy(archive, folder / "model_store")
    ports = free_ports()
    lines = (REPOSITORY / "config.properties").read_text().splitlines()
    for listener in ("inference", "management", "metrics"):
        lines.append(f"{listener}_address=http://127.0.0.1:{ports[listener]}")
    for listener in ("grpc_inference", "grpc_management"):
        lines.append(f"{listener}_port={ports[listener]}")
    (folder / "config.properties").write_text("\n".join(lines) + "\n")

    temp = folder / "tmp"
    temp.mkdir()
    environment = {**os.environ, "TMPDIR": str(temp), "TEMP": str(temp)}
    environment.pop("PYTHONPATH", None)
    # The module that the command `torchserve` is made of, run by the bare interpreter.
    torchserve: list[str | Path] = [bare_python, "-P", "-m", "ts.model_server"]
    start = "--start --ncs --ts-config config.properties --model-store model_store"
    models = "--models text=mini-text.mar vision=mini-vision.mar"
    with (folder / "console.log").open("w") as console:
        subprocess.run(
            [*torchserve, *start.split(), *models.split()],
            cwd=folder, env=environment, stdout=console, stderr=console, check=True,
        )  # fmt: skip
    java = psutil.Process(int((temp / ".model_server.pid").read_text()))
    try:
        yield {
            "folder": str(folder),
            "http": f"http://127.0.0.1:{ports['inference']}",
            "grpc": f"grpc://127.0.0.1:{ports['grpc_inference']}",
            "management": f"http://127.0.0.1:{ports['management']}",
        }
    finally:
        family = [java, *java.children(recursive=True)]
        subprocess.run(
            [*torchserve, "--stop", "--foreground"], cwd=folder, env=environment, capture_output=True
        )
        left = psutil.wait_procs(family, timeout=60)[1]
        for process in left:
            process.kill()
    assert not alive(left)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_plain_torchserve_serves_both_towers(
    site: dict[str, str], store: Path, images: list[bytes], transport: str
) -> None:
    """The command in config.properties serves the exported space from the archives alone."""
    tokens = Path(site["folder"], "key_file.json")
    expected = json.loads((store / "manifest.json").read_text())["spaces"][0]["space"]
    give_up = time.monotonic() + PATIENCE
    with Client(site[transport], token_file=tokens) as client:
        while True:
            # It answers before its workers are up: here the test waits as any caller must.
            with contextlib.suppress(BabelclipError):
                texts, pictures = client.embed_texts(["a cat"]), client.embed_images(images)
                break
            assert time.monotonic() < give_up, Path(site["folder"], "console.log").read_text()
            time.sleep(0.5)
    assert texts.space == pictures.space == expected


def test_plain_torchserve_registers_nothing_over_the_network(site: dict[str, str]) -> None:
    """With our settings alone not even the management key adds or removes a model."""
    key = json.loads(Path(site["folder"], "key_file.json").read_text())["management"]["key"]
    headers = {"authorization": f"Bearer {key}"}
    url = f"{site['management']}/models"
    assert httpx.post(url, params={"url": "mini-text.mar"}, headers=headers).status_code == 405
    assert httpx.delete(f"{url}/text/1.0", headers=headers).status_code == 405


def test_the_log_stays_quiet(site: dict[str, str]) -> None:
    """Requests leave no lines in the log, and there is one file of it."""
    key = json.loads(Path(site["folder"], "key_file.json").read_text())["inference"]["key"]
    logs = Path(site["folder"], "logs")
    before = (logs / "torchserve.log").stat().st_size
    for _ in range(50):
        response = httpx.post(
            f"{site['http']}/predictions/text",
            content=b"a cat",
            headers={"authorization": f"Bearer {key}", "content-type": "text/plain"},
        )
        assert response.status_code == 200
    assert (logs / "torchserve.log").stat().st_size == before
    assert [path.name for path in logs.iterdir()] == ["torchserve.log"]
