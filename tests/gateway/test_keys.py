"""The keys as the gateway asks for them: whose they are, changed without a restart, never in a log."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from babelclip.keys.entries import Limits, written
from babelclip.keys.file import KeysError, add, load, revoke
from gateway.keys import Caller, KeyExpired, KeyFile


def test_a_key_is_its_callers(tmp_path: Path) -> None:
    """A key says who calls and what that caller may do; whatever else is presented is nobody's."""
    file = tmp_path / "keys.json"
    limits = Limits(items_per_second=5)
    secret = add(file, "shop", scopes=["embed"], limits=limits)
    keys = KeyFile(file)
    assert keys.find(secret) == Caller("shop", ("embed",), limits)
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), "sh\udcffop", load(file)[0].digest.hex()):
        assert keys.find(wrong) is None


def test_a_changed_file_holds_from_the_next_question_on(tmp_path: Path) -> None:
    """A key is given and taken without a restart."""
    file = tmp_path / "keys.json"
    first = add(file, "first")
    keys = KeyFile(file)
    second = add(file, "second")
    assert (keys.find(first), keys.find(second)) == (Caller("first"), Caller("second"))
    revoke(file, "first")
    assert (keys.find(first), keys.find(second)) == (None, Caller("second"))


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
        assert keys.find(secret) == Caller("shop")
        assert keys.find("wrong") is None
    assert caplog.text.count("stay in force") == 1
    assert secret not in caplog.text


def test_a_key_ends_at_its_time(tmp_path: Path) -> None:
    """A key that was given for a while need not be revoked, and its caller learns why it fails."""
    file = tmp_path / "keys.json"
    secret = add(file, "guest", expires=datetime.now(UTC) + timedelta(days=1))
    assert KeyFile(file).find(secret) == Caller("guest")
    content = json.loads(file.read_text())
    content["keys"][0]["expires"] = written(datetime.now(UTC) - timedelta(days=1))
    file.write_text(json.dumps(content))
    with pytest.raises(KeyExpired, match="the key expired on 2"):
        KeyFile(file).find(secret)
    assert KeyFile(file).find(secret + "x") is None


def test_there_is_no_start_without_keys(tmp_path: Path) -> None:
    """A wrong path is no gateway that lets nobody, or everybody, in."""
    with pytest.raises(KeysError, match="cannot read"):
        KeyFile(tmp_path / "none.json")
