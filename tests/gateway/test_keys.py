"""The callers' keys: kept as hashes, changed without a restart, never in a log."""

import contextlib
import json
import logging
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keys import KeyFile, KeysError, add, load, main, parse, revoke
from tests.places import REPOSITORY


def test_a_key_is_found_by_its_name_and_stands_nowhere(tmp_path: Path) -> None:
    """The file tells who may call and not how: whoever reads it cannot call."""
    file = tmp_path / "new" / "keys.json"
    secret = add(file, "shop")
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]
    keys = KeyFile(file)
    assert keys.find(secret) == "shop"
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), "sh\udcffop", load(file)[0].digest.hex()):
        assert keys.find(wrong) is None


def test_a_changed_file_holds_from_the_next_question_on(tmp_path: Path) -> None:
    """A key is given and taken without a restart."""
    file = tmp_path / "keys.json"
    first = add(file, "first")
    keys = KeyFile(file)
    second = add(file, "second")
    assert (keys.find(first), keys.find(second)) == ("first", "second")
    revoke(file, "first")
    assert (keys.find(first), keys.find(second)) == (None, "second")


@pytest.mark.parametrize("spoil", ["broken", "gone"])
def test_a_spoilt_file_shuts_nobody_out(spoil: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a file is being written, or its mount is away, the last keys are in force, with a warning."""
    file = tmp_path / "keys.json"
    secret = add(file, "shop")
    keys = KeyFile(file)
    if spoil == "broken":
        file.write_text(file.read_text()[:-20])
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING):
        assert keys.find(secret) == "shop"
        assert keys.find("wrong") is None
    assert caplog.text.count("stay in force") == 1
    assert secret not in caplog.text


def test_keys_that_are_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Two operators lose nothing to each other."""
    file = tmp_path / "keys.json"

    def make(number: int) -> int:
        command = [sys.executable, "-m", "gateway.keys", "--file", str(file), "add", f"key{number}"]
        return subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(8))) == [0] * 8
    assert {key.name for key in load(file)} == {f"key{number}" for number in range(8)}


def test_the_command_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is printed once and alone, the list holds none, and mistakes are explained."""
    file = ["--file", str(tmp_path / "keys.json")]
    assert main([*file, "add", "shop"]) == 0
    secret = capsys.readouterr().out.strip()
    assert KeyFile(tmp_path / "keys.json").find(secret) == "shop"
    assert main([*file, "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("shop\t20")
    assert secret not in listed
    for wrong, says in (
        (["add", "shop"], "there is a key of the name shop"),
        (["add", "a b"], "is no name of a key"),
        (["revoke", "other"], "there is no key of the name other"),
    ):
        assert main([*file, *wrong]) == 1
        assert says in capsys.readouterr().err
    assert main([*file, "revoke", "shop"]) == 0
    assert load(tmp_path / "keys.json") == []
    assert main(["--file", str(tmp_path / "none.json"), "list"]) == 1
    assert "cannot read" in capsys.readouterr().err


GOOD = {"name": "a", "sha256": "0" * 64, "created": ""}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], 'it must be {"keys"'),
        ({"keys": [1]}, "keys[0] must be an object of strings"),
        ({"keys": [{"name": "a", "created": ""}]}, "keys[0] has no sha256"),
        ({"keys": [{**GOOD, "expires": "2027"}]}, "this version knows no 'expires'"),
        ({"keys": [{**GOOD, "sha256": "0" * 63}]}, "64 hexadecimal digits"),
        ({"keys": [{**GOOD, "name": "a b"}]}, "up to 64 letters"),
        ({"keys": [GOOD, GOOD]}, "two keys of the name a"),
    ],
)
def test_a_file_of_something_else_is_explained(content: object, says: str) -> None:
    """An entry with a limit that is not understood is never taken for a key without limits."""
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(json.dumps(content).encode())


def test_there_is_no_start_without_keys(tmp_path: Path) -> None:
    """A wrong path is no gateway that lets nobody, or everybody, in."""
    with pytest.raises(KeysError, match="cannot read"):
        KeyFile(tmp_path / "none.json")


@given(
    data=st.binary(max_size=300)
    | st.recursive(st.text() | st.none(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_file_breaks_the_reader(data: bytes) -> None:
    """Whatever stands in the file, it becomes keys or a ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse(data), list)
