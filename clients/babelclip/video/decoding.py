"""Films as frames with their times, by PyAV; one frame at a time, however long the film is.

    with open_video("holiday.mp4") as video:
        for frame in video.frames():
            print(frame.time, frame.decoded.width)

A film comes from outside. It is read through a file that is open, so no name in it or of it is an address;
what its format may be is a list, on which no playlist stands; frames and length have limits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from babelclip.video.errors import (
    NO_VIDEO_STREAM,
    VIDEO_TOO_LONG,
    VIDEO_TOO_MANY_PIXELS,
    VIDEO_UNDECODABLE,
    VideoError,
)
from babelclip.video.frames import Frame, display_matrix

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.codec.hwaccel import HWAccel
    from av.container import InputContainer

FORMATS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "dv"),
    *("ivf", "nut", "h264", "hevc", "m4v", "gif"),
)
"""FFmpeg's names of the formats that are read."""
SEEKABLE = frozenset(("mov", "matroska", "webm"))
"""Formats with an index of times, in which a decoder can begin in the middle."""
JUMP = 1.0  # seconds back in time from which on a recording began anew, instead of frames in disorder
RETRIES = 10  # places in a row where the file cannot be read, before its rest is given up
STANDARD_RATE = 25.0  # frames per second where neither frames nor the file say when they are shown


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How films are decoded.

    Attributes:
        threads: of the decoder; 0 for as many as there are cores.
        hardware: FFmpeg's name of a device that decodes, such as `cuda`, `vaapi` or `videotoolbox`; what it
            cannot decode, the processor does. None for the processor alone.
        keyframes_only: decode only frames that are whole in themselves: many times as fast, and as coarse as
            they lie apart, most often 1 to 10 seconds.
        max_pixels: of a frame.
        max_seconds: of a film.
    """

    threads: int = 0
    hardware: str | None = None
    keyframes_only: bool = False
    max_pixels: int = 40_000_000
    max_seconds: float = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a film says of itself.

    Attributes:
        width, height: pixels of a frame as it is stored.
        seconds: its length; None where it does not say.
        rate: frames per second on average; None where it does not say.
        format, codec: FFmpeg's names.
    """

    width: int
    height: int
    seconds: float | None
    rate: float | None
    format: str
    codec: str


@contextmanager
def open_video(
    source: str | os.PathLike[str] | BinaryIO, decoding: Decoding | None = None
) -> Iterator[Video]:
    """A film, by its path or as a file that is open and can seek; it is closed when the block ends.

    Raises:
        VideoError: it is no film that can be decoded, or is over a limit; the sentence says why.
        ValueError: this FFmpeg knows no such hardware.
        OSError: the file cannot be read.
        ImportError: PyAV is not installed.
    """
    decoding = decoding or Decoding()
    with _opened(source) as (name, file), _open_container(file, name, decoding) as container:
        yield Video(container, name, decoding)


class Video:
    """A film that is open.

    Attributes:
        name: for messages.
        info: what it says of itself.
        corrupt: packets so far that could not be decoded; the frames around them are there.
        seconds: where the last frame that was decoded ends.
    """

    def __init__(self, container: InputContainer, name: str, decoding: Decoding) -> None:
        self.name = name
        self.corrupt = 0
        self.seconds = 0.0
        self._container = container
        self._decoding = decoding
        self._stream = stream = self._choose()
        self._origin = (container.start_time or 0) / 1e6
        context = stream.codec_context
        context.thread_type = "AUTO"
        context.thread_count = decoding.threads
        context.options = {"max_pixels": _most_pixels(decoding)}
        if decoding.keyframes_only:
            context.skip_frame = "NONKEY"
        rate = stream.average_rate
        self.info = VideoInfo(
            width=context.width,
            height=context.height,
            seconds=None if container.duration is None else container.duration / 1e6,
            rate=float(rate) if rate else None,
            format=container.format.name,
            codec=context.name,
        )
        self._check_pixels(context.width, context.height)
        self._check_seconds(self.info.seconds or 0.0)

    def frames(self, start: float = 0.0) -> Iterator[Frame]:
        """The frames from `start` on, in the order of their times; seconds from the beginning of the film.

        Times are those that the film gives its frames, so they are right where frames come at no fixed rate.
        Where they begin anew, as in recordings that were joined, they go on from the frame before.

        Raises:
            VideoError: it cannot be decoded at all, or a limit is passed; what came before was given.
        """
        if start > 0 and self._seek(start):
            frames = self._decode()
            first = next(frames, None)
            if first is not None and first.time <= start:
                yield from self._from(start, first, frames)
                return
            self._container.seek(self._container.start_time or 0)
            self._stream.codec_context.flush_buffers()
        frames = self._decode()
        first = next(frames, None)
        if first is None:
            reason = f": {self.corrupt} packets are broken" if self.corrupt else ""
            raise VideoError(VIDEO_UNDECODABLE, f"no frame of {self.name} can be decoded{reason}")
        yield from self._from(start, first, frames)

    def _from(self, start: float, first: Frame, frames: Iterator[Frame]) -> Iterator[Frame]:
        if first.time >= start:
            yield first
        del first  # Else its memory is held to the film's end.
        for frame in frames:
            if frame.time >= start:
                yield frame

    def _seek(self, start: float) -> bool:
        if not SEEKABLE.intersection(self.info.format.split(",")):
            return False
        try:
            self._container.seek(int((start + self._origin) * 1e6), backward=True)
        except _av().error.FFmpegError:
            return False
        return True

    def _decode(self) -> Iterator[Frame]:
        step = 1.0 / (self.info.rate or STANDARD_RATE)
        shift, last = -self._origin, None
        rotation, matrix = None, None
        for decoded in self._decoded():
            self._check_pixels(decoded.width, decoded.height)
            stamp = decoded.pts if decoded.pts is not None else decoded.dts
            if stamp is None or decoded.time_base is None:
                time = 0.0 if last is None else last + step
            else:
                time = float(stamp * decoded.time_base) + shift
                if last is not None and time < last - JUMP:
                    shift += last + step - time
                    time = last + step
            time = max(time, last or 0.0)
            self._check_seconds(time)
            last = time
            length = decoded.duration * decoded.time_base if decoded.duration and decoded.time_base else step
            self.seconds = max(self.seconds, time + float(length))
            if decoded.rotation != rotation:
                rotation, matrix = decoded.rotation, display_matrix(decoded)
            aspect = self._stream.sample_aspect_ratio
            yield Frame(time, decoded, float(aspect) if aspect else 1.0, matrix)

    def _decoded(self) -> Iterator[VideoFrame]:
        """What can be decoded; of a broken packet nothing, and the decoder goes on with the next."""
        error_type = _av().error.FFmpegError
        packets = self._container.demux(self._stream)
        broken = 0  # in a row
        while True:
            try:
                packet = next(packets, None)
                broken = 0
            except error_type:
                self.corrupt += 1
                broken += 1
                if broken <= RETRIES:
                    packets = self._container.demux(self._stream)
                    continue
                packets, packet = iter(()), None  # The rest cannot be read.
            try:
                # Without a packet, what the decoder still holds.
                yield from self._stream.decode(packet)
            except EOFError:
                return
            except error_type:
                self.corrupt += 1
            if packet is None:
                return

    def _choose(self) -> VideoStream:
        """The first stream of pictures that is no cover."""
        av = _av()
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in self._container.streams.video if not stream.disposition & cover]
        if not streams:
            kinds = sorted({stream.type for stream in self._container.streams if stream.type != "video"})
            only = f", only {' and '.join(kinds)}" if kinds else ""
            raise VideoError(NO_VIDEO_STREAM, f"{self.name} has no video stream{only}")
        if streams[0].codec_context is None:
            raise VideoError(
                VIDEO_UNDECODABLE, f"{self.name} has a video stream of a codec that FFmpeg has no decoder for"
            )
        return streams[0]

    def _check_pixels(self, width: int, height: int) -> None:
        most = self._decoding.max_pixels
        if width * height > most:
            raise VideoError(
                VIDEO_TOO_MANY_PIXELS,
                f"a frame of {self.name} has {width} × {height} pixels; {most:,} are allowed",
            )

    def _check_seconds(self, seconds: float) -> None:
        most = self._decoding.max_seconds
        if seconds > most:
            raise VideoError(
                VIDEO_TOO_LONG, f"{self.name} is {seconds:,.0f} seconds long; {most:,.0f} are allowed"
            )


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError("films are decoded by PyAV: pip install 'babelclip[video]'") from error
    return av


@contextmanager
def _opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    if not isinstance(source, str | os.PathLike):
        yield str(getattr(source, "name", "the film")), source
        return
    name = os.fspath(source)
    # Non-blocking, and a look at the kind before reading: opening a pipe would wait for a writer forever.
    with open(name, "rb", opener=lambda path, how: os.open(path, how | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise VideoError(VIDEO_UNDECODABLE, f"{name} is no regular file")
        yield name, file


def _open_container(file: BinaryIO, name: str, decoding: Decoding) -> InputContainer:
    av = _av()
    options = {
        "format_whitelist": ",".join(FORMATS),
        "protocol_whitelist": "none",
        "max_pixels": _most_pixels(decoding),
    }

    def opened(hardware: HWAccel | None) -> InputContainer:
        file.seek(0)
        found: InputContainer = av.open(
            file, "r", options=options, metadata_errors="replace", hwaccel=hardware
        )
        return found

    try:
        hardware = _hardware(decoding.hardware)
        try:
            return opened(hardware)
        except av.error.FFmpegError as error:
            if hardware is None:
                raise
            opened(None).close()  # Else it is the film that is at fault.
            raise ValueError(
                f"the device {decoding.hardware} cannot decode here: {error.strerror}"
            ) from error
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise VideoError(VIDEO_UNDECODABLE, f"{name} is no film that can be read: {reason}") from error


def _hardware(name: str | None) -> HWAccel | None:
    if name is None:
        return None
    from av.codec.hwaccel import HWAccel, hwdevices_available

    known = hwdevices_available()
    if name not in known:
        raise ValueError(f"there is no device {name!r} to decode with; this FFmpeg has {', '.join(known)}")
    return HWAccel(name, allow_software_fallback=True)


def _most_pixels(decoding: Decoding) -> str:
    # A guard of memory before there is a frame to look at: decoders round up, and add edges.
    return str(2 * decoding.max_pixels + 1_000_000)
