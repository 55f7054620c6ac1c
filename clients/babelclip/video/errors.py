"""Why a film gives no frames."""

from __future__ import annotations

from babelclip.errors import BabelclipError

VIDEO_UNDECODABLE = "video_undecodable"
NO_VIDEO_STREAM = "no_video_stream"
VIDEO_TOO_MANY_PIXELS = "video_too_many_pixels"
VIDEO_TOO_LONG = "video_too_long"


class VideoError(BabelclipError):
    """A film that cannot be used: a word for programs in `code`, a sentence for people in `message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Python would make it anew from its text alone, fail, and break the pool of processes it came from.
        return type(self), (self.code, self.message)
