"""`babelclip keys`: what is printed, and what of it is the key."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from babelclip.cli.main import app
from babelclip.keys.entries import Limits
from babelclip.keys.file import digest_of, load

RUN = CliRunner()


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    """The key is printed once and alone; the list shows everything but it."""
    file = ["--file", str(tmp_path / "keys.json")]
    options = ["--scope", "embed", "--scope", "admin", "--expires", "90d", "--items-per-second", "100"]
    made = RUN.invoke(app, ["keys", "add", "shop", *options, "--concurrent-items", "64", *file])
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    (key,) = load(tmp_path / "keys.json")
    assert key.digest == digest_of(secret)
    assert key.scopes == ("embed", "admin")
    assert key.limits == Limits(items_per_second=100, concurrent_items=64)
    assert key.expires is not None
    assert abs(key.expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(hours=1)
    listed = RUN.invoke(app, ["keys", "list", *file])
    for shown in ("shop", "embed admin", "items_per_second=100, concurrent_items=64"):
        assert shown in listed.stdout
    assert secret not in listed.stdout
    (entry,) = json.loads(RUN.invoke(app, ["keys", "list", "--json", *file]).stdout)["keys"]
    assert (entry["name"], entry["limits"]) == ("shop", {"items_per_second": 100, "concurrent_items": 64})
    assert RUN.invoke(app, ["keys", "revoke", "shop", *file]).exit_code == 0
    assert load(tmp_path / "keys.json") == []


def test_a_key_for_some_collections(tmp_path: Path) -> None:
    """Their names are in the file and in the list; without the option a key is for all."""
    file = ["--file", str(tmp_path / "keys.json")]
    for options in (["shop", "--collections", "shop-*, catalogue"], ["all"]):
        assert RUN.invoke(app, ["keys", "add", *options, *file]).exit_code == 0
    assert [key.collections for key in load(tmp_path / "keys.json")] == [("shop-*", "catalogue"), ("*",)]
    listed = " ".join(RUN.invoke(app, ["keys", "list", *file]).stdout.replace("│", " ").split())
    assert listed.count(" in ") == 1
    assert "shop-*" in listed


def test_the_gateways_own_variable_names_the_file(tmp_path: Path) -> None:
    """Where the gateway is set by the environment, so is the command."""
    place = {"BABELCLIP_GATEWAY_KEYS_FILE": str(tmp_path / "mounted.json")}
    assert RUN.invoke(app, ["keys", "add", "shop"], env=place).exit_code == 0
    (key,) = load(tmp_path / "mounted.json")
    assert (key.scopes, key.expires) == (("embed", "search"), None)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["add", "a b"], 3, "is no name of a key"),
        (["add", "a", "--expires", "soon"], 3, "'soon' is no moment"),
        (["add", "a", "--expires", "2020-01-31"], 3, "that is over"),
        (["add", "a", "--items-per-second", "0"], 3, "items_per_second must be more than 0"),
        (["add", "a", "--collections", "a,b c"], 3, "collections must be names"),
        (["add", "a", "--collections", "*a"], 3, "collections must be names"),
        (["add", "a", "--scope", "root"], 2, "there is no scope root"),
        (["revoke", "a"], 3, "there is no key of the name a"),
        (["list"], 3, "cannot read"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], status: int, says: str, tmp_path: Path) -> None:
    """One line and an exit code, and no file changes."""
    done = RUN.invoke(app, ["keys", *arguments, "--file", str(tmp_path / "keys.json")])
    assert done.exit_code == status
    assert says in " ".join(done.stderr.replace("│", " ").split())
