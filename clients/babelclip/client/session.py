"""What one client knows of the server: its models, and the embedding space and version it has settled on.

The first answer pins the space, and the version that gave it: from then on both towers are asked for that
version, so that a client stays in one space while another version becomes the server's default. When the
version is gone, the default one is asked, which may serve the same space; when it does not, the client says
so and returns nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from babelclip.client.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, Credentials
from babelclip.errors import AuthenticationError, BabelclipError, ModelNotFound, SpaceMismatch
from babelclip.transports.base import VERSION_HEADER, Call
from babelclip.wire import EmbedResult, Tower

# Bytes of the caller's own. Above 8,192 of all, TorchServe answers as if it were no HTTP, or went away.
LARGEST_HEADERS = 6000
Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]


class Session:
    """Safe to use from several threads. Makes calls, and decides about what came of them; sends nothing.

    Raises:
        ValueError: a header cannot be one.
    """

    def __init__(
        self,
        credentials: Credentials,
        models: Mapping[Tower, str],
        *,
        space: str | None,
        version: str | None,
        headers: Headers | None,
    ) -> None:
        self.credentials = credentials
        self.space = space
        self.dim = 0
        self.logit_scale = 1.0
        self._models = models
        self._version = version
        self._chosen = version is not None  # by the caller, who gets that version or none
        self._gone: str | None = None  # the version that served the space
        self._headers: Callable[[], Mapping[str, str]]
        self._headers = headers if callable(headers) else (lambda: headers or {})
        if not callable(headers):
            checked_headers(headers or {})
        self.renew()

    def renew(self) -> None:
        """A new lock: in a forked child the old one may be held by a thread that is not there."""
        self._lock = threading.Lock()

    def repinned(self, space: str, version: str) -> Session:
        """What another client of the same server would know that has settled on another space."""
        other = Session(self.credentials, self._models, space=space, version=None, headers=self._headers)
        other.pin(space, version)
        return other

    @property
    def version(self) -> str | None:
        """The version that both towers are asked for; None for the server's default one."""
        return self._version

    def pin(self, space: str, version: str) -> None:
        """Settle on a space before the first answer, and on the version that served it, if that is known."""
        with self._lock:
            if self.space not in (None, space):
                raise SpaceMismatch(f"this client is pinned to the space {self.space}, not {space}")
            self.space = space
            if version and self._version is None:
                self._version = version

    def call(self, tower: Tower, body: bytes, timeout: float, allowed: float) -> Call:
        """A call of a tower with all that travels beside the body; `timeout` is what is left of `allowed`.

        Raises:
            AuthenticationError: the token file cannot be read or holds no token.
        """
        headers = tuple(checked_headers(self._headers()).items())
        token = self.credentials.token()
        return Call(self._models[tower], self._version, body, token, timeout, headers, allowed)

    def recover(self, call: Call, error: BabelclipError) -> Call:
        """The call to make at once in place of one that failed: with a newer token, or of another version.

        Raises:
            BabelclipError: `error`, or one that says more, where there is no such call.
        """
        if isinstance(error, AuthenticationError):
            if call.token is None:
                raise AuthenticationError(
                    f"{error}. None was given: pass a token or a token file, or set {TOKEN_VARIABLE} or"
                    f" {TOKEN_FILE_VARIABLE}"
                ) from error
            if self.credentials.refresh(call.token):
                return self._again(call, call.version)
        if isinstance(error, ModelNotFound) and call.version is not None and not self._chosen:
            with self._lock:
                if self._version == call.version:
                    self._gone, self._version = call.version, None
                version = self._version
            if version != call.version:
                return self._again(call, version)
        if isinstance(error, SpaceMismatch) and self._gone is not None:
            raise SpaceMismatch(
                f"{error}. Version {self._gone}, which served the space {self.space}, is gone from the"
                " server: make a new client, and embed again what is compared with it"
            ) from error
        raise error

    def accept(self, call: Call, answer: EmbedResult) -> bool:
        """Settle on the answer's space, or compare it with the one settled on; whether the answer is of it.

        False where the call named no version, and another answer has meanwhile settled on one: another space
        has become the server's default in between, and the same call is to be made again.

        Raises:
            SpaceMismatch: the server answered in another space, or with vectors of another length.
        """
        with self._lock:
            if self.space is not None and answer.space != self.space:
                if call.version is None and self._version is not None:
                    return False
                raise SpaceMismatch(
                    f"the server answered in the space {answer.space}; this client is pinned to {self.space}."
                    " Its model has changed: make a new client, and embed again what is compared with it"
                )
            if self.dim and answer.vectors.shape[1] != self.dim:
                raise SpaceMismatch(
                    f"the server answered with {answer.vectors.shape[1]} values per vector; the space"
                    f" {self.space} has {self.dim}"
                )
            self.space = answer.space
            self.dim = answer.vectors.shape[1]
            self.logit_scale = answer.logit_scale
            if self._version is None and answer.version:
                self._version = answer.version
        return True

    def _again(self, call: Call, version: str | None) -> Call:
        return replace(call, version=version, token=self.credentials.token())


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with names in lower case, as gRPC needs them.

    Raises:
        ValueError: a name or a value cannot travel, or is one that the client itself sets.
    """
    found = {}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in ("authorization", "content-type", "content-length", "host", "accept", VERSION_HEADER):
            raise ValueError(f"the client sets the header {name} itself")
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
            raise ValueError(f"{name!r} is no name of a header")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of the header {name} must be printable ASCII")
        found[lowered] = value
    size = sum(len(name) + len(value) for name, value in found.items())
    if size > LARGEST_HEADERS:
        raise ValueError(
            f"the headers have {size:,} bytes together; at most {LARGEST_HEADERS:,} are allowed, since the"
            " server takes 8,192 with its own"
        )
    return found
