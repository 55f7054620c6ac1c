"""`python -m gateway`: what it says at its start and its end, as a process."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.support import PATIENCE
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # starts gateways as processes


def command(folder: Path, *lines: str) -> list[str]:
    """The command with a configuration of these lines; its engine's address leads nowhere."""
    file = folder / "gateway.toml"
    free = ("port = 0", "grpc_port = 0", "metrics_port = 0", f"keys_file = '{folder / 'keys.json'}'")
    file.write_text("\n".join([*free, 'engine = "grpc://127.0.0.1:1"', 'engine_token_file = ""', *lines]))
    return [sys.executable, "-m", "gateway", "--config", str(file)]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_when_it_is_told_to(ending: int, tmp_path: Path) -> None:
    """An operator reads the addresses, who is let in, and the first key; and a signal is a clean end."""
    process = subprocess.Popen(
        command(tmp_path), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("listening: "):
            break
    text = "".join(said)
    addresses = json.loads(said[-1].removeprefix("listening: "))
    assert f"HTTP on {addresses['http']}, for this machine alone" in text
    found = re.search(r"shown this once: (bck_\S+)", text)
    assert found is not None
    bearer = {"authorization": f"Bearer {found[1]}"}
    assert httpx.get(f"{addresses['http']}/v1/models", headers=bearer, timeout=60).status_code == 200
    assert httpx.get(f"{addresses['http']}/v1/models").status_code == 401
    process.send_signal(ending)
    rest, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert found[1] not in rest + errors
    assert found[1] not in (tmp_path / "keys.json").read_text()


def test_a_port_that_is_taken_is_named_and_the_first_key_is_shown_once(tmp_path: Path) -> None:
    """A start that fails says why in one line, and the next one shows no key again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = command(tmp_path)
        file = tmp_path / "gateway.toml"
        file.write_text(file.read_text().replace("port = 0", f"port = {port}", 1))
        first, second = (
            subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE)
            for _ in range(2)
        )
    assert (first.returncode, second.returncode) == (1, 1)
    assert f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use" in second.stderr
    assert "Traceback" not in first.stderr + second.stderr
    assert "shown this once" in first.stdout
    assert "bck_" not in second.stdout


def test_a_wrong_setting_is_said_in_a_line(tmp_path: Path) -> None:
    """A mistyped entry is no stack trace."""
    done = subprocess.run(
        command(tmp_path, "prot = 1"), cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "did you mean port?" in done.stderr
