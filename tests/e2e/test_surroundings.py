"""scripts/server.py where a machine is not as ours: folders, locales, proxies, addresses, ports, users."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from babelclip import Client
from babelclip.versions.management import Management
from tests.e2e.support import check_stop, launched
from tests.places import REPOSITORY


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What a test opens; closed when everything else of it is undone."""
    with contextlib.ExitStack() as opened:
        yield opened


def checkout(folder: Path) -> Path:
    """What scripts/server.py needs of this repository, in a folder of its own."""
    for name in ("scripts", "deploy", "handlers"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "config.properties", folder)
    return folder


def test_a_checkout_may_have_any_name(
    store: Path, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters beyond ASCII, spaces and signs, in the C locale and behind a proxy, and paths from elsewhere.

    Java takes a properties file for ISO-8859-1, and file names in the C locale for ASCII; a proxy answers for
    nobody on this machine. SIGTERM ends it, with two workers of each tower.
    """
    # Not in tmp_path, whose path is so long that temporary files would stand elsewhere.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="Mes modèles 模型 100% #1 "))
    here = checkout(Path(folder).resolve() / "bc")
    shutil.copytree(store, here / "model store é")
    monkeypatch.chdir(here)
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with pytest.MonkeyPatch.context() as behind:
        for name in ("http_proxy", "HTTPS_PROXY", "all_proxy", "grpc_proxy"):
            behind.setenv(name, "http://127.0.0.1:1")
        options = (
            "--store",
            "model store é",
            "--ports",
            "auto",
            "--queue-metrics-port",
            "0",
            "--workers",
            "2",
        )
        with launched(*options, checkout=here) as launcher:
            server = launcher.wait_ready()
            assert server.token_file == here / ".run" / "key_file.json"
            with Management(server.management_grpc, server.token_file) as management:
                assert management.versions("text")
            behind.undo()
            for address in (server.http, server.grpc):
                with Client(address, token_file=server.token_file) as client:
                    assert len(client.embed_texts(["a cat"])) == 1
            assert server.queue("babelclip_queue_up") == 1
            check_stop(launcher, server, signal.SIGTERM, workers=2)


def test_ipv6_is_served_and_called(store: Path, tmp_path: Path) -> None:
    """Every listener on ::1: the server proves itself there, and clients, metrics and management reach it.

    The end of its terminal ends it.
    """
    config = tmp_path / "config.properties"
    given = (REPOSITORY / "config.properties").read_text(encoding="utf-8")
    assert "=http://127.0.0.1:" in given
    given = given.replace("=http://127.0.0.1:", "=http://[::1]:").replace(
        "_address=127.0.0.1", "_address=::1"
    )
    config.write_text(given.replace("=deploy/", f"={REPOSITORY}/deploy/"))
    # And in a folder whose path is too long for a worker's socket.
    options = ("--config", config, "--run-dir", tmp_path / ("run" * 30), "--ports", "auto")
    with launched("--store", store, *options, "--queue-metrics-port", "0", "--workers", "1") as launcher:
        server = launcher.wait_ready()
        assert server.http.startswith("http://[::1]:")
        for address in (server.http, server.grpc):
            with Client(address, token_file=server.token_file) as client:
                assert len(client.embed_texts(["a cat"])) == 1
        with Management(server.management_grpc, server.token_file) as management:
            assert management.versions("text")
        assert server.queue("babelclip_queue_up") == 1
        assert httpx.get(server.metrics).status_code == 200
        # Bound to this one address, and to no other of the machine.
        port = httpx.URL(server.http).port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        check_stop(launcher, server, signal.SIGHUP)


def test_workers_that_end_at_each_start_end_the_start(store: Path, tmp_path: Path) -> None:
    """Even those that end before TorchServe knows their process ids; what they printed is shown."""
    (tmp_path / "metrics.yaml").write_text("mode: prometheus\n")
    config = tmp_path / "config.properties"
    config.write_text("metrics_config=metrics.yaml\n")
    options = ("--config", config, "--run-dir", tmp_path / "run", "--ports", "auto")
    # Far longer than a test may take: it is not the timeout that ends this.
    with launched("--store", store, *options, "--startup-timeout", "100000") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    # Both towers end so, and either may be the first.
    assert re.search("serve: (text|vision) 1.0 cannot be loaded", printed), printed
    assert "'model_metrics' key not found" in printed
    assert str(tmp_path / "run" / "logs" / "torchserve.log") in printed


def test_a_port_in_use_is_a_sentence(store: Path, tmp_path: Path) -> None:
    """TorchServe is not even started where something else listens already."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        options = ("--run-dir", tmp_path, "--ports", "auto", "--metrics-port", port)
        with launched("--store", store, *options) as launcher:
            status, printed = launcher.wait_ended()
    assert status == 1
    assert f"metrics cannot listen on 127.0.0.1:{port}" in printed
    assert f"process {os.getpid()}" in printed
    assert len(printed.splitlines()) == 1


def test_a_letter_that_the_terminal_lacks_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages hold paths, and a terminal may know ASCII alone."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with launched("--store", tmp_path / "模型", "--run-dir", tmp_path / "run") as launcher:
        status, printed = launcher.wait_ended()
    assert status == 1
    assert "is no model store" in printed
    assert "Traceback" not in printed


def test_the_scripts_mend_the_environment_of_the_shell(tmp_path: Path) -> None:
    """Another Python's home, and a locale in which Python 3.11 cannot start in a folder such as this one."""
    folder = tmp_path / "模型"
    folder.mkdir()
    (folder / "site.pth").write_text(f"{folder}\n", encoding="utf-8")
    script = REPOSITORY / "scripts" / "environment.sh"
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        ["bash", "-c", f'. "{script}" && exec "$0" -c "$1"', sys.executable, code],
        env={**os.environ, "LC_ALL": "C", "PYTHONHOME": "/nowhere", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["LC_ALL"] == "C.UTF-8"
    assert not {"PYTHONHOME", "PYTHONSAFEPATH"} & set(found)
