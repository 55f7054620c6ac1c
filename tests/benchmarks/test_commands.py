"""The benchmarks' commands: each says how it is used, and the documentation names them all."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = (
    "limit",
    "serve",
    "peers",
    "poison",
    "soak",
    "footprint",
    "client",
    "restart",
    "training",
    "rollout",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_says_how_it_is_used(command: str) -> None:
    """The command starts in the environment that scripts/setup makes, and explains itself."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command}", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{command}" in done.stdout


def test_the_documentation_names_them_all() -> None:
    """docs/benchmarks.md lists every command."""
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"python -m benchmarks.{command}" in text
