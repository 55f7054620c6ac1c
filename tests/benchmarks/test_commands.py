"""The benchmarks' commands: each says how it is used, and the documentation names them all."""

import sys

import pytest

from tests.benchmarks.commands import command_module
from tests.places import REPOSITORY

COMMANDS = (
    "towers",
    "limit",
    "serve",
    "peers",
    "poison",
    "soak",
    "footprint",
    "client",
    "compare",
    "restart",
    "training",
    "rollout",
    "http_libraries",
    "gateway",
    "overload",
    "index",
    "video",
    "ingest",
    "bulk",
    "dedup",
    "capacity",
    "replicas",
    "scaling",
    "engines",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_says_how_it_is_used(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command can be imported in the environment that scripts/setup makes, and explains itself."""
    module = command_module(command)
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert f"python -m benchmarks.{command}" in capsys.readouterr().out


def test_the_documentation_names_them_all() -> None:
    """docs/benchmarks.md lists every command."""
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"python -m benchmarks.{command}" in text
