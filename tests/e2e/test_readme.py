"""The commands of the README and of the guides, as they stand, against a running server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gateways import Gateway, started
from tests.e2e.support import Server
from tests.places import REPOSITORY

SECTIONS = ("Call it", "Call it from Python", "Search and compare")


def wire_blocks() -> list[tuple[str, str]]:
    """(language, code) of docs/wire.md; every block of commands begins with the first one's variables."""
    text = (REPOSITORY / "docs" / "wire.md").read_text(encoding="utf-8")
    (_, variables), *found = re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)
    return [(language, code if language == "python" else variables + code) for language, code in found]


def client_blocks() -> list[tuple[str, str]]:
    """(language, code) of docs/client.md."""
    text = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")
    return re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)


def gateway_blocks() -> list[tuple[str, str]]:
    """(language, code) of docs/gateway.md's first program, and of the Python client's."""
    text = (REPOSITORY / "docs" / "gateway.md").read_text(encoding="utf-8")
    parts = [
        text.split(f"## {section}\n")[1].split("\n## ")[0] for section in ("Start it", "`babelclip.Client`")
    ]
    return [
        ("python", code) for part in parts for code in re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    ]


def blocks() -> list[tuple[str, str]]:
    """(language, code) of every block of the README's sections that speak to a server."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = []
    for section in SECTIONS:
        body = text.split(f"## {section}\n")[1].split("\n## ")[0]
        found += re.findall(r"```(bash|python)\n(.*?)```", body, re.DOTALL)
    return found


def test_the_sections_hold_commands() -> None:
    """Protects the test below from passing because a heading was renamed."""
    languages = ["bash", "python", "python", "bash"]
    assert [language for language, _ in blocks()] == languages
    assert [language for language, _ in gateway_blocks()] == ["python"] * 2
    assert [language for language, _ in wire_blocks()] == ["bash", "bash", "python", "bash", "bash"]
    assert [language for language, _ in client_blocks()] == ["python"] * 7


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the server of all tests."""
    with started(tmp_path_factory.mktemp("gateway"), server) as running:
        yield running


@pytest.mark.parametrize(("language", "code"), blocks() + gateway_blocks() + wire_blocks() + client_blocks())
def test_a_readers_commands_work(
    server: Server, front: Gateway, store: Path, tmp_path: Path, language: str, code: str
) -> None:
    """Protects a newcomer from commands that were true once."""
    here = {
        "grpc://127.0.0.1:7070": server.grpc,
        "http://127.0.0.1:8080": server.http,
        "http://127.0.0.1:8000": front.addresses["http"],
        "bck_…": front.key,
        ".run/key_file.json": str(server.token_file),
        ".venv/bin/": f"{Path(sys.executable).parent}/",
        "mar:model_store": f"mar:{store}",
        'model="photos"': 'model="mini"',  # what the server of these tests serves
        ".run/vectors": str(tmp_path / "vectors"),
    }
    for written, actual in here.items():
        code = code.replace(written, actual)
    command = (
        [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    )
    environment = os.environ | {"BABELCLIP_URL": server.http}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error":' not in done.stdout
    # A space, a version of the model, or a picture.
    said = (server.space, f"mini@{server.version}", "training/recipes/photos/samples", "1f3")
    assert any(word in done.stdout for word in said) or "InMemoryTransport" in code  # which needs no server
