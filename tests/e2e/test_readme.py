"""The commands of the README, docs/wire.md and docs/client.md, as they stand, against a running server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support import Server
from tests.places import REPOSITORY

SECTIONS = ("Call it from your service", "Search and compare", "Search a folder of photographs")


def wire_blocks() -> list[tuple[str, str]]:
    """(language, code) of docs/wire.md; every block of commands begins with the first one's variables."""
    text = (REPOSITORY / "docs" / "wire.md").read_text(encoding="utf-8")
    (_, variables), *found = re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)
    return [(language, code if language == "python" else variables + code) for language, code in found]


def client_blocks() -> list[tuple[str, str]]:
    """(language, code) of docs/client.md."""
    text = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")
    return re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)


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
    assert [language for language, _ in blocks()] == ["python", "bash", "bash", "bash", "python"]
    assert [language for language, _ in wire_blocks()] == ["bash", "bash", "python", "bash", "bash"]
    assert [language for language, _ in client_blocks()] == ["python"] * 7


@pytest.mark.parametrize(("language", "code"), blocks() + wire_blocks() + client_blocks())
def test_a_readers_commands_work(
    server: Server, store: Path, tmp_path: Path, language: str, code: str
) -> None:
    """Protects a newcomer from commands that were true once."""
    here = {
        "grpc://127.0.0.1:7070": server.grpc,
        "http://127.0.0.1:8080": server.http,
        ".run/key_file.json": str(server.token_file),
        ".venv/bin/": f"{Path(sys.executable).parent}/",
        "mar:model_store": f"mar:{store}",
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
    said = (
        server.space in done.stdout or "training/recipes/mini/samples" in done.stdout or "1f3" in done.stdout
    )
    assert said or "InMemoryTransport" in code  # which needs no server
