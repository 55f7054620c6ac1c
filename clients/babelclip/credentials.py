"""The token that TorchServe asks of every call, and the file it is kept in.

TorchServe writes a new `key_file.json` at each start, and its keys expire; so a token that came from a file
is read again when the server refuses it.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from babelclip.errors import AuthenticationError

TOKEN_VARIABLE = "BABELCLIP_TOKEN"
TOKEN_FILE_VARIABLE = "BABELCLIP_TOKEN_FILE"


class Credentials:
    """One token, given or read from a file. Safe to use from several threads.

    What is passed wins over the environment: `token` or `token_file`, else the variable BABELCLIP_TOKEN,
    else BABELCLIP_TOKEN_FILE, else no token at all. The file is first read when a token is first needed.
    `environment=False` leaves the variables alone.

    Raises:
        ValueError: both `token` and `token_file` are given, or `token` cannot be a token.
    """

    def __init__(
        self,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        *,
        environment: bool = True,
    ) -> None:
        if token is not None and token_file is not None:
            raise ValueError("give a token or a token_file, not both")
        if environment and token is None and token_file is None:
            token = os.environ.get(TOKEN_VARIABLE) or None
            if token is None and (named := os.environ.get(TOKEN_FILE_VARIABLE)):
                token_file = named
        self._file = None if token_file is None else Path(token_file)
        self._token = None if token is None else _checked(token)
        self._lock = threading.Lock()

    def token(self) -> str | None:
        """The token to send, or None to send none.

        Raises:
            AuthenticationError: the token file cannot be read or holds no token.
        """
        with self._lock:
            if self._token is None and self._file is not None:
                self._token = self._read()
            return self._token

    def refresh(self, refused: str | None) -> bool:
        """After the server refused a token: whether there is another one now, to try again with."""
        with self._lock:
            if self._file is None:
                return False
            if self._token == refused:  # Else another thread has already read the new one.
                self._token = self._read()
            return self._token != refused

    def _read(self) -> str:
        assert self._file is not None
        try:
            return parse_token_file(self._file.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise AuthenticationError(f"no token from the file {self._file}: {reason}") from error


def parse_token_file(data: bytes) -> str:
    """The inference key of a TorchServe `key_file.json`, or the bare token that is the file's only content.

    Raises:
        ValueError: it is neither; the message does not quote the file.
    """
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    if not text.startswith("{"):
        return _checked(text)
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it starts like a key_file.json but is no JSON") from None
    inference = keys.get("inference") if isinstance(keys, dict) else None
    key = inference.get("key") if isinstance(inference, dict) else None
    if not isinstance(key, str):
        raise ValueError('it has no {"inference": {"key": "…"}}')
    return _checked(key)


def _checked(token: str) -> str:
    """The token itself, if a header can carry it."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is one or more printable ASCII characters without spaces")
    return token
