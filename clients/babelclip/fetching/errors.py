"""What keeps an image from being fetched."""

from __future__ import annotations

from babelclip.errors import IMAGE_NOT_FETCHED, BabelclipError


class NotFetched(BabelclipError):
    """There are no bytes: `code` is a word for programs, `message` says why."""

    def __init__(self, message: str, code: str = IMAGE_NOT_FETCHED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
