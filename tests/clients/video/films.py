"""Films made for the tests: really encoded, small, and of known content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

av = pytest.importorskip("av", reason="films are decoded by PyAV")

Pixels = NDArray[np.uint8]


def write_film(
    path: Path,
    pictures: Iterable[Pixels],
    *,
    rate: int = 10,
    times: Iterable[float] | None = None,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    rotation: float = 0.0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    sound: float = 0.0,
) -> Path:
    """Pictures [H, W, 3] as a film; `times` in seconds for each, else `rate` of them in a second.

    `sound` is so many seconds of silence from time 0 on.
    """
    with av.open(str(path), "w") as out:
        stream = None
        speaker = out.add_stream("aac", rate=8000) if sound else None
        stamps = iter(times) if times is not None else None
        clock = Fraction(1, rate if times is None else 1000)
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=rate, options=dict(options or {}))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = clock
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                if rotation or mirrored:
                    stream.set_display_rotation(rotation, hflip=mirrored)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = clock
            frame.pts = number if stamps is None else round(next(stamps) / clock)
            out.mux(stream.encode(frame))
        assert stream is not None
        out.mux(stream.encode(None))
        if speaker is not None:
            for begin in range(0, int(sound * 8000), 1024):
                quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                quiet.sample_rate, quiet.pts = 8000, begin
                out.mux(speaker.encode(quiet))
            out.mux(speaker.encode(None))
    return path


def grey(value: int, size: tuple[int, int] = (64, 48)) -> Pixels:
    """A picture of one grey, `size` wide and high."""
    return np.full((size[1], size[0], 3), value, np.uint8)


def counting(count: int, size: tuple[int, int] = (64, 48)) -> list[Pixels]:
    """Pictures, each a little lighter than the one before."""
    return [grey(20 + 200 * number // max(1, count - 1), size) for number in range(count)]


def scene(seed: int, size: tuple[int, int] = (128, 72)) -> Pixels:
    """A picture of blocks in random colours, like no other seed's."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC))


def moving(picture: Pixels, count: int, speed: float = 0.5, seed: int = 0) -> list[Pixels]:
    """A picture as a hand-held camera has it: it drifts, and every frame has its own noise."""
    random = np.random.default_rng(seed)
    shown = []
    for number in range(count):
        moved = np.roll(picture, round(speed * number), axis=1).astype(np.int16)
        shown.append(np.clip(moved + random.integers(-4, 5, moved.shape), 0, 255).astype(np.uint8))
    return shown


def brightness(picture: Image.Image) -> float:
    """The mean of a picture, from 0 to 255."""
    return float(np.asarray(picture).mean())
