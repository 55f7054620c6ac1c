"""Versions of a real server: rolled forward and back under load, interrupted anywhere, and retired."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from babelclip import Client
from babelclip.client.retry import Backoff
from babelclip.embedding_pb2 import EmbedRequest
from tests.e2e.support import Launcher, embed
from tests.places import REPOSITORY

TOWERS = ("text", "vision")
# A command that is stopped between the defaults of the two towers: it says so, and waits for what comes.
STOPPED_BETWEEN = """
import sys
from babelclip.versions.management import Management
from babelclip.cli.main import main
from tests.places import REPOSITORY
change = Management.set_default
def stopping(self, tower, version):
    if tower == "vision":
        print("between", flush=True)
        sys.stdin.readline()
    change(self, tower, version)
Management.set_default = stopping
main()
"""


class Operator:
    """Somebody who has a store, and a server that serves it."""

    def __init__(self, store: Path, run: Path) -> None:
        self.store = store
        self.run = run
        self.launch()

    def launch(self) -> None:
        """Start the server; it must be waited for."""
        self.launcher = Launcher("--store", self.store, "--run-dir", self.run, "--ports", "auto")

    def wait_ready(self) -> None:
        self.server = self.launcher.wait_ready()

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BABELCLIP_MANAGEMENT_URL": self.server.management_grpc,
            "BABELCLIP_URL": self.server.http,
            "BABELCLIP_GRPC_URL": self.server.grpc,
            "BABELCLIP_TOKEN_FILE": str(self.server.token_file),
        }

    def tried(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """`babelclip models …`, whatever comes of it."""
        command = [sys.executable, "-m", "babelclip", "models", *map(str, words), "--store", str(self.store)]
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True)

    def models(self, *words: str | Path) -> str:
        """The same, which must succeed; what it printed."""
        done = self.tried(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def listing(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.models("list", "--json"))
        return found

    @contextlib.contextmanager
    def stopped_between(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The command, when it has changed the default of the text tower and not that of the vision tower."""
        command = [sys.executable, "-c", STOPPED_BETWEEN, "models", *words, "--store", str(self.store)]
        with subprocess.Popen(
            command,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "between\n"
            yield process


def both(version: str) -> dict[str, str]:
    return dict.fromkeys(TOWERS, version)


@pytest.fixture(scope="module")
def served(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A server of a store that these tests may change, with the version 1.0."""
    copied = shutil.copytree(store, tmp_path_factory.mktemp("served") / "store")
    operator = Operator(copied, tmp_path_factory.mktemp("run"))
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.launcher.stop()


@pytest.fixture
def operator(served: Operator, store: Path, new_store: Path) -> Operator:
    """The same with the versions 1.0 and 2.0, whatever a test before has left; 1.0 is the default."""
    versions = {one["version"] for one in served.listing()["versions"]}
    for version, source in (("1.0", store), ("2.0", new_store)):
        if version not in versions:
            served.models("add", source)
    served.models("promote", "1.0")
    assert served.listing()["remarks"] == []
    return served


def spoiled(source: Path, target: Path) -> Path:
    """A copy of a store under the version 3.0, whose text tower no worker can load."""
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    (entry,) = manifest["spaces"]
    entry["version"] = "3.0"
    for tower in TOWERS:
        archive = target / entry[tower]["mar"]
        with zipfile.ZipFile(source / archive.name) as before, zipfile.ZipFile(archive, "w") as after:
            for name in before.namelist():
                content = before.read(name)
                if name == "MAR-INF/MANIFEST.json":
                    content = content.replace(b'"2.0"', b'"3.0"')
                if name == "meta.json" and tower == "text":
                    content = b'{"format": 99}'
                after.writestr(name, content)
        entry[tower]["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_a_version_that_cannot_be_loaded_leaves_nothing(
    served: Operator, new_store: Path, tmp_path: Path
) -> None:
    """An addition whose workers die is given up, undone, and explained; the others are served all along."""
    before = sorted(path.name for path in served.store.glob("*.mar"))
    listed = served.listing()["versions"]
    done = served.tried("add", spoiled(new_store, tmp_path / "spoiled"))
    assert done.returncode == 3
    assert "text 3.0 cannot be loaded" in done.stderr.splitlines()[-1]
    assert "was undone" in done.stderr.splitlines()[-1]
    found = served.listing()
    assert [one["version"] for one in found["versions"]] == [one["version"] for one in listed]
    assert found["remarks"] == []
    assert sorted(path.name for path in served.store.glob("*.mar")) == before
    served.models("verify")


def test_the_memory_of_the_workers_is_listed(operator: Operator) -> None:
    """An operator sees what a version costs, though TorchServe does not measure it with our settings."""
    for one in operator.listing()["versions"]:
        for tower in TOWERS:
            assert one["towers"][tower]["memory_bytes"] > 50e6
            assert (one["towers"][tower]["workers_ready"], one["towers"][tower]["pending"]) == (1, 0)


def test_versions_change_under_load_without_a_failed_request(operator: Operator, images: list[bytes]) -> None:
    """Forward and back, over HTTP and gRPC: every request is answered, every client stays in one space."""
    stop = threading.Event()
    requests = {"text": EmbedRequest(texts=[b"ein Hund"]), "vision": EmbedRequest(images=[images[0]])}
    versions = {one["space"]: one["version"] for one in operator.listing()["versions"]}
    assert len(versions) == 2
    answered: dict[tuple[str, str], str] = {}  # by caller: the version of its last answer

    def call(transport: str, tower: str) -> None:
        while not stop.is_set():
            answer = embed(operator.server, transport, tower, requests[tower])
            assert not answer.error.code
            answered[transport, tower] = answer.version

    def live(transport: str) -> None:
        url, once = operator.server.url(transport), Backoff(attempts=1)
        while not stop.is_set():
            with Client(url, token_file=operator.server.token_file, backoff=once) as client:
                texts, pictures = client.embed_texts(["ein Hund"]), client.embed_images([images[0]])
            assert texts.space == pictures.space
            answered[transport, "client"] = versions[texts.space]

    with ThreadPoolExecutor(6) as pool:
        callers = [pool.submit(call, transport, t) for transport in ("http", "grpc") for t in TOWERS]
        callers += [pool.submit(live, transport) for transport in ("http", "grpc")]
        try:
            for command, version in ((("promote", "2.0"), "2.0"), (("rollback",), "1.0")):
                operator.models(*command)
                while list(answered.values()) != [version] * len(callers):
                    for caller in callers:
                        assert not caller.done() or caller.result()  # Raises what ended it.
                    time.sleep(0.05)
        finally:
            stop.set()
        for caller in callers:
            caller.result()


@pytest.mark.parametrize(("command", "version"), [(("promote", "2.0"), "2.0"), (("rollback",), "1.0")])
def test_a_promotion_killed_between_the_towers_is_mended_by_one_command(
    operator: Operator, command: tuple[str, ...], version: str
) -> None:
    """After kill -9 the towers answer in two spaces; the same command or a rollback brings them together."""
    with operator.stopped_between("promote", "2.0") as process:
        process.kill()
    found = operator.listing()
    assert found["server_defaults"] == {"text": "2.0", "vision": "1.0"}
    assert "is unfinished" in found["remarks"][0]
    assert operator.tried("verify").returncode == 1
    operator.models(*command)
    assert operator.listing()["server_defaults"] == both(version)
    operator.models("verify")


def test_a_promotion_outlives_the_server(operator: Operator) -> None:
    """TorchServe killed between the towers comes up with both in the space before; one command goes on."""
    with operator.stopped_between("promote", "2.0") as process:
        (java,) = [one for one in operator.launcher.family() if one.name() == "java"]
        java.kill()
        assert operator.launcher.wait_ended()[0] == 1
        _, said = process.communicate("\n")
    assert process.returncode == 3
    assert "no answer from" in said
    operator.launch()
    operator.wait_ready()
    assert operator.server.version == "1.0"
    assert operator.listing()["server_defaults"] == both("1.0")
    operator.models("promote", "2.0")
    assert operator.listing()["server_defaults"] == both("2.0")
    operator.models("verify")


def guide() -> list[str]:
    """The blocks of commands in docs/operating.md."""
    text = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def test_the_guide_can_be_followed(operator: Operator, new_store: Path, tmp_path: Path) -> None:
    """Every command of docs/operating.md works, in the order in which it stands there."""
    exports = [block for block in guide() if "-m export" in block]
    assert len(exports) == 1  # The fixture `new_store` runs it.
    operator.models("retire", "2.0", "--quiet", "0", "--delete")
    for name, actual in (
        ("model_store", operator.store),
        ("new_store", new_store),
        (".run", operator.run),
        (".venv", Path(sys.prefix)),
    ):
        (tmp_path / name).symlink_to(actual)
    # One shell for all: the variables of the first block hold in the others.
    code = "\n".join(block for block in guide() if block not in exports)
    for written, served in (
        ("grpc://127.0.0.1:7071", operator.server.management_grpc),
        ("http://127.0.0.1:8080", operator.server.http),
        ("grpc://127.0.0.1:7070", operator.server.grpc),
        ("http://127.0.0.1:8081", operator.server.management),
        ("--delete", "--delete --quiet 1"),
    ):
        assert written in code
        code = code.replace(written, served)
    old = operator.server.key("inference")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    headers = {"authorization": f"Bearer {old}"}
    assert httpx.get(f"{operator.server.http}/ping", headers=headers).status_code == 400
    found = operator.listing()
    assert [(one["version"], one["default"]) for one in found["versions"]] == [("2.0", True)]
    assert found["server_defaults"] == both("2.0")
    assert not (operator.store / "mini-text.mar").exists()
