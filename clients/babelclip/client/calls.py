"""What both clients make of the arguments of a call, and of the parts of its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from babelclip.embeddings import Embeddings
from babelclip.errors import DeadlineExceeded, ItemErrors, TransportError
from babelclip.item_errors import DEADLINE_EXCEEDED, ItemError
from babelclip.similarity import concatenate
from babelclip.wire import smallest_message

OnError = Literal["raise", "return"]
Progress = Callable[[int], None]

LONGEST_LANGUAGE = 64  # characters of a BCP 47 tag; the longest in use have 35
LARGEST_MESSAGE = 32_000_000
"""Bytes: the server takes 33,554,432 unless `max_request_size` in its config.properties says otherwise."""
AHEAD = 2
"""Chunks of a call that are made and not yet taken by the caller, for each that may be under way.

A server with several workers or batches answers out of turn, and a caller may be slow to take a result:
meanwhile the next chunks leave.
"""

NOT_TO_BE_SENT = (
    "a client cannot be pickled: it holds connections, and perhaps a token. Send the other process its"
    " address, and make a client there"
)


@dataclass
class CallState:
    """How one call goes on when the server is gone; shared by its chunks.

    Attributes:
        keep: what has been received is kept, and the rest of the items have an error; else it is raised.
        gone: the error since which nothing more is sent.
    """

    keep: bool = False
    gone: DeadlineExceeded | None = None


class Collector:
    """The parts of a stream on their way to one result; see `Client.embed_texts`.

    As a context it gives a TransportError what was received before it.

    Raises:
        ValueError: `errors` is no way to treat errors.
    """

    def __init__(self, errors: OnError, progress: Progress | None) -> None:
        if errors not in ("raise", "return"):
            raise ValueError(f'errors must be "raise" or "return", not {errors!r}')
        self._raises = errors == "raise"
        self._progress = progress
        self._parts: list[Embeddings] = []
        self._done = 0

    def add(self, part: Embeddings) -> None:
        """The next part of the stream."""
        self._parts.append(part)
        if self._progress is not None:
            self._done += len(part)
            self._progress(self._done)

    def result(self) -> Embeddings:
        """All parts as one.

        Raises:
            DeadlineExceeded: items had no answer in time, and `errors` is "raise".
            ItemErrors: items failed, and `errors` is "raise".
        """
        embeddings = self._parts[0] if len(self._parts) == 1 else concatenate(self._parts)
        if embeddings.errors and self._raises:
            late = [error for error in embeddings.errors if error.code == DEADLINE_EXCEEDED]
            if late:
                raise _too_late(late, embeddings)
            raise ItemErrors(embeddings.errors, embeddings)
        return embeddings

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TransportError):
            error.embeddings = concatenate(self._parts)


def require_answers(embeddings: Embeddings) -> Embeddings:
    """The same, for those who go on to further calls, which is in vain when the server is gone.

    Raises:
        DeadlineExceeded: none of the items has a vector, for want of an answer in time.
    """
    late = [error for error in embeddings.errors if error.code == DEADLINE_EXCEEDED]
    if late and not embeddings.ok.any():
        raise _too_late(late, embeddings)
    return embeddings


def _too_late(late: list[ItemError], embeddings: Embeddings) -> DeadlineExceeded:
    count = f"; {len(late)} of {len(embeddings)} items have no vector" if len(embeddings) > 1 else ""
    error = DeadlineExceeded(late[0].message + count)
    error.embeddings = embeddings
    return error


def message_limits(asked: int | None, *, served: bool) -> tuple[int, int]:
    """Bytes of a message of several items, and of one item: what was asked, or the defaults.

    Raises:
        ValueError: it leaves no room for an item.
    """
    if asked is None:
        return 6_000_000 if served else LARGEST_MESSAGE, LARGEST_MESSAGE
    if asked < smallest_message():
        raise ValueError(f"max_message_bytes must be at least {smallest_message()}, not {asked}")
    return asked, asked


def check_settings(*, timeout: float, concurrency: int, hedge_after: float | None) -> None:
    """Check settings of a client.

    Raises:
        ValueError: one is out of range.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1 message, not {concurrency}")
    if hedge_after is not None and not hedge_after > 0:
        raise ValueError(f"hedge_after must be more than 0 seconds, not {hedge_after}")


def checked_language(language: str | None) -> str:
    """A language as it travels, "" for none; which ones there are is the server's to say.

    Raises:
        TypeError: it is no text.
        ValueError: it is longer than any language's tag.
    """
    if language is None:
        return ""
    if not isinstance(language, str):
        raise TypeError(f"a language must be a str such as 'bn', not {type(language).__name__}")
    if len(language) > LONGEST_LANGUAGE or not language.isascii():
        raise ValueError(f"a language must be a BCP 47 tag such as 'bn' or 'zh-Hant', not {language[:50]!r}")
    return language
