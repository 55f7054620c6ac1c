"""The token that TorchServe asks of every call, and the file it is kept in.

TorchServe writes a new `key_file.json` at each start, and its keys expire; so a token that came from a file
is read again a minute before it expires, and when the server refuses it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from babelclip.errors import AuthenticationError

TOKEN_VARIABLE = "BABELCLIP_TOKEN"
TOKEN_FILE_VARIABLE = "BABELCLIP_TOKEN_FILE"

# A key is read again so long before it expires, and then, while the file has no newer one, once in so long.
EARLY_SECONDS = 60.0
AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Key:
    """A token, and when it expires, in seconds since 1970; None where nobody said."""

    token: str
    expires: float | None = None


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
            token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
            if token is None and (named := os.environ.get(TOKEN_FILE_VARIABLE)):
                token_file = named
        self._file = None if token_file is None else Path(token_file)
        self._key = None if token is None else Key(_checked(token))
        self._looked = 0.0
        self.renew()

    def renew(self) -> None:
        """A new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()

    def token(self) -> str | None:
        """The token to send, or None to send none.

        Raises:
            AuthenticationError: the token file cannot be read or holds no token.
        """
        with self._lock:
            if self._file is not None and self._due():
                self._looked = time.monotonic()
                try:
                    self._key = self._read()
                except AuthenticationError:
                    if self._key is None:
                        raise
                    # The file is being written, or gone: the key in hand is good until the server refuses it.
            return None if self._key is None else self._key.token

    def refresh(self, refused: str | None) -> bool:
        """After the server refused a token: whether there is another one now, to try again with."""
        with self._lock:
            if self._file is None:
                return False
            if self._key is None or self._key.token == refused:  # Else another thread has read the new one.
                self._key = self._read()
            return self._key.token != refused

    def _due(self) -> bool:
        if self._key is None:
            return True
        if self._key.expires is None or time.time() < self._key.expires - EARLY_SECONDS:
            return False
        return time.monotonic() - self._looked >= AGAIN_SECONDS

    def _read(self) -> Key:
        assert self._file is not None
        try:
            return parse_token_file(self._file.read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise AuthenticationError(f"no token from the file {self._file}: {reason}") from error


def parse_token_file(data: bytes) -> Key:
    """The inference key of a TorchServe `key_file.json`, or the bare token that is the file's only content.

    An expiration time that cannot be read counts as none.

    Raises:
        ValueError: it is neither; the message does not quote the file.
    """
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    if not text.startswith("{"):
        return Key(_checked(text))
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it starts like a key_file.json but is no JSON") from None
    inference = keys.get("inference") if isinstance(keys, dict) else None
    inference = inference if isinstance(inference, dict) else {}
    key = inference.get("key")
    if not isinstance(key, str):
        raise ValueError('it has no {"inference": {"key": "…"}}')
    return Key(_checked(key), _seconds(inference.get("expiration time")))


def _seconds(expiration: object) -> float | None:
    """TorchServe's "2026-01-31T12:00:00.123456789Z" → seconds since 1970."""
    if not isinstance(expiration, str):
        return None
    try:
        # Python reads no more than six digits of a second.
        moment = datetime.fromisoformat(expiration.partition(".")[0].removesuffix("Z") + "+00:00")
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _checked(token: str) -> str:
    """The token itself, without the line break that files end in, if a header can carry it."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is one or more printable ASCII characters without spaces")
    return token
