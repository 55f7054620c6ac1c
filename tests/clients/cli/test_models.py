"""`babelclip models`: what an operator reads, and the exit codes their scripts go by."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from babelclip.cli.main import app
from babelclip.versions.management import Management
from tests.clients.operated import Operated

VERBS = ("list", "add", "promote", "rollback", "retire", "scale", "verify")


def run(world: Operated, *arguments: str | Path) -> Result:
    """One command, with the options that all of them take."""
    verb, *rest = map(str, arguments)
    return CliRunner().invoke(app, ["models", verb, *world.options(), *rest])


def test_a_version_from_its_store_to_its_retirement(world: Operated) -> None:
    """The whole life of a version by commands: steps on standard error, one line on standard output."""
    for command, says in (
        (("add", world.new), "added and proved"),
        (("promote", "2.0"), "2.0 is the default of both towers"),
        (("rollback",), "rolled back"),
        (("promote", "2.0"), "2.0 is the default of both towers"),
        (("scale", "2.0", "--workers", "2"), "workers of each tower of 2.0: 2"),
        (("verify",), "canary of text 1.0"),
        (("retire", "1.0", "--quiet", "0", "--delete"), "1.0 is retired"),
    ):
        done = run(world, *command)
        assert (done.exit_code, says in done.stdout) == (0, True), done.output
    assert world.server.defaults == {"text": "2.0", "vision": "2.0"}
    assert "make 2.0 the default of the vision tower" in run(world, "promote", "2.0").stderr


def test_the_list_is_a_table_and_a_document(world: Operated) -> None:
    """A person sees workers, waiting requests and memory; a program reads the same and more."""
    world.renew(added=True)
    world.server.models["text"]["2.0"].pids = []
    shown = run(world, "list")
    assert shown.exit_code == 0, shown.output
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in shown.stdout.splitlines() if "mini" in line]
    assert rows[0] == ["mini", "1.0", "space-of-1.0", "default", "1/1", "0", "1 MB", "1/1", "0", "1 MB"]
    assert rows[1][3:6] == ["", "0/0", "0"]
    document = json.loads(run(world, "list", "--json").stdout)
    assert [(one["version"], one["default"]) for one in document["versions"]] == [
        ("1.0", True),
        ("2.0", False),
    ]
    assert document["versions"][0]["towers"]["vision"] == {
        "workers_ready": 1,
        "workers": 1,
        "pending": 0,
        "memory_bytes": 1_000_000,
    }
    assert document["server_defaults"] == {"text": "1.0", "vision": "1.0"}
    assert document["remarks"] == []


def test_the_list_shows_what_is_unfinished(world: Operated) -> None:
    """After an interruption the command that mends it stands below the table."""
    world.renew(added=True)
    document = world.manifest()
    document["promoting"] = {"from": "1.0", "to": "2.0"}
    (world.store / "manifest.json").write_text(json.dumps(document))
    shown = run(world, "list")
    assert "`babelclip models promote 2.0` finishes it, `babelclip models rollback` undoes it" in shown.stderr
    found = json.loads(run(world, "list", "--json").stdout)
    assert found["promoting"] == {"from": "1.0", "to": "2.0"}
    assert run(world, "rollback").exit_code == 0
    assert run(world, "list").stderr == ""


def test_a_dry_run_prints_a_numbered_plan(world: Operated) -> None:
    """What would be done is numbered on standard output, and nothing is done."""
    before = world.state()
    done = run(world, "add", world.new, "--dry-run")
    assert done.exit_code == 0, done.output
    assert [line.partition(". ")[0] for line in done.stdout.splitlines()] == [*"12345678"]
    assert done.stderr == ""
    assert world.state() == before


def test_verify_exits_with_1_when_something_is_wrong(world: Operated) -> None:
    """A script can tell a wrong vector from a command that failed."""
    world.renew(added=True)
    assert run(world, "verify", "2.0").exit_code == 0
    world.server.sick.add("2.0")
    done = run(world, "verify", "2.0")
    assert done.exit_code == 1
    assert "another vector than when it was exported" in done.stdout
    checks = json.loads(run(world, "verify", "--json").stdout)["checks"]
    assert [bool(check["problem"]) for check in checks].count(True) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("promote", "7"), 3, "there is no version '7'"),
        (("retire", "1.0"), 3, "1.0 is the default"),
        (("rollback",), 3, "nothing to roll back to"),
        (("add", "/no/such"), 3, "/no/such is no model store"),
        (("list", "--token-file", "/no/such"), 3, "no management key from the file /no/such: No such file"),
        (("list", "--management", "http://127.0.0.1"), 3, "must start with grpc://"),
        (("list", "--management", "grpc://127.0.0.1:9"), 3, "no answer from 127.0.0.1:9"),
        (("scale", "1.0", "--workers", "0"), 2, "--workers"),
        (("promote",), 2, "Missing argument"),
    ],
)
def test_failures_are_one_line(world: Operated, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Whatever fails is one sentence and an exit code, never a stack trace and never a key."""
    done = run(world, *arguments)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert world.server.key not in done.output
    if code == 3:
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")


def test_a_refused_key_is_explained(world: Operated) -> None:
    """The file is another server's or its key has expired: the sentence says so, and shows no key."""
    world.server.key = "renewed"
    done = run(world, "list")
    assert done.exit_code == 3
    assert "refused the management key" in done.stderr
    assert json.loads(world.keys.read_text())["management"]["key"] not in done.output


def test_ctrl_c_says_how_to_go_on(world: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator who interrupts a command reads what to do next, and no stack trace."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    world.renew(added=True)
    with monkeypatch.context() as patched:
        patched.setattr(Management, "set_default", interrupt)
        done = run(world, "promote", "2.0")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1].startswith("interrupted; `babelclip models list` says")
    assert run(world, "promote", "2.0").exit_code == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_says_how_it_is_used(verb: str) -> None:
    """`--help` works for each without a server."""
    done = CliRunner().invoke(app, ["models", verb, "--help"])
    assert done.exit_code == 0
    assert "--store" in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
