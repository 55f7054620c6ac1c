"""Where the token comes from, and files that hold no token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.client.credentials import Credentials, parse_token_file
from babelclip.errors import AuthenticationError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["inference", "key", "API", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def key_file(key: str) -> bytes:
    """What TorchServe writes."""
    keys = {"management": {"key": "m4nage"}, "inference": {"key": key}, "API": {"key": "4p1"}}
    return json.dumps(keys, indent=2).encode()


@given(data=st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()) | st.just(b"{" * 100_000))
def test_a_file_gives_a_sendable_token_or_a_value_error(data: bytes) -> None:
    """No content of a token file can crash the client or smuggle a header."""
    try:
        token = parse_token_file(data).token
    except ValueError:
        return
    assert token
    assert token.isascii()
    assert token.isprintable()
    assert " " not in token


@pytest.mark.parametrize(
    ("data", "token"),
    [(key_file("1nf3r"), "1nf3r"), (b"bare\n", "bare"), (b"\xef\xbb\xbfwith-mark\r\n", "with-mark")],
)
def test_both_forms_are_read(data: bytes, token: str) -> None:
    """TorchServe's key file gives the inference key, any other file is the token itself."""
    assert parse_token_file(data).token == token


def test_a_line_break_after_a_token_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets made with echo end in one, and so does what a program reads from a file."""
    assert Credentials("given\n").token() == "given"
    monkeypatch.setenv("BABELCLIP_TOKEN", "from-a-secret\r\n")
    assert Credentials().token() == "from-a-secret"
    monkeypatch.setenv("BABELCLIP_TOKEN", "\n")
    assert Credentials().token() is None


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token that is passed is never replaced by one that happens to be set."""
    file = tmp_path / "keys"
    file.write_bytes(key_file("from-file"))
    monkeypatch.setenv("BABELCLIP_TOKEN_FILE", str(file))
    assert Credentials().token() == "from-file"
    monkeypatch.setenv("BABELCLIP_TOKEN", "from-variable")
    assert Credentials().token() == "from-variable"
    assert Credentials(token_file=file).token() == "from-file"
    assert Credentials("passed").token() == "passed"


def test_no_token_is_no_header() -> None:
    """Without any source nothing is sent."""
    assert Credentials().token() is None
    assert not Credentials().refresh(None)


def test_the_environment_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names a missing file does not stop what needs no token."""
    monkeypatch.setenv("BABELCLIP_TOKEN_FILE", "/no/such/file")
    assert Credentials(environment=False).token() is None


def test_a_file_is_read_again_only_after_a_refusal(tmp_path: Path) -> None:
    """New keys after a server's restart are found, and the same ones are not tried twice."""
    file = tmp_path / "keys"
    file.write_bytes(key_file("old"))
    credentials = Credentials(token_file=file)
    assert credentials.token() == "old"
    assert not credentials.refresh("old")
    file.write_bytes(key_file("new"))
    assert credentials.token() == "old"
    assert credentials.refresh("old")
    assert credentials.token() == "new"


@pytest.mark.parametrize("content", [None, b"", b"two words", b'{"inference": {}}', b"{no json s3cret"])
def test_an_unusable_file_is_an_authentication_error(content: bytes | None, tmp_path: Path) -> None:
    """The error names the file and never quotes it."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AuthenticationError, match="keys") as caught:
        Credentials(token_file=file).token()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ключ"])
def test_an_impossible_token_is_refused_at_once(token: str) -> None:
    """What a header cannot carry fails where it was passed, not at the first call."""
    with pytest.raises(ValueError, match="printable ASCII"):
        Credentials(token)


def test_two_sources_are_one_too_many(tmp_path: Path) -> None:
    """A token and a file together leave open which is meant."""
    with pytest.raises(ValueError, match="not both"):
        Credentials("t", tmp_path)
