"""Scenes of a film whose scenes are known: how many are found, how far off, how fast, in how much memory.

    python -m benchmarks.video [--seconds 120] [--height 720] [--quick]

A film is encoded with H.264: scenes of a panning camera, of different lengths, a flash in each third one.
A scene is found when one begins within a second of it. Frames per second are those of the film, decoded and
looked at, on all cores; beside them what decoding alone takes. Memory is what the process grew by at most.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from babelclip.video import Sampling, find_scenes, open_video
from benchmarks.support import report, towers
from benchmarks.support.options import make_parser, parse

SCENES = 12
RATE = 25
NEAR = 1.0  # seconds


def scene(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A picture of blocks in random colours."""
    blocks = np.random.default_rng(number).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC))


def make_film(path: Path, seconds: float, height: int) -> list[float]:
    """Encodes the film; returns where its scenes begin."""
    width = 2 * round(height * 16 / 9 / 2)
    shares = np.random.default_rng(1).uniform(0.5, 1.5, SCENES)
    counts = np.maximum(1, np.round(shares / shares.sum() * seconds * RATE)).astype(int)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        shown = 0
        for number, count in enumerate(counts.tolist()):
            picture = scene(number, width, height)
            for step in range(count):
                flash = number % 3 == 0 and step == count // 2
                moved = np.full_like(picture, 255) if flash else np.roll(picture, step, axis=1)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24")
                frame.pts, frame.time_base = shown, Fraction(1, RATE)
                shown += 1
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return [float(begin) / RATE for begin in np.cumsum([0, *counts[:-1]])]


@contextmanager
def peak_memory(found: dict[str, float]) -> Iterator[None]:
    """Puts into `found` what the process grew by at most within the block, in MB."""
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        found["peak_mb"] = round((max(most, process.memory_info().rss) - before) / 1e6, 1)


def measure(path: Path, begins: list[float]) -> dict[str, Any]:
    """Scenes found and how far off the worst is, frames per second, and memory."""
    with open_video(path) as video:
        began = time.perf_counter()
        frames = sum(1 for _ in video.frames())
        decoding = time.perf_counter() - began
    memory: dict[str, float] = {}
    with peak_memory(memory), open_video(path) as video:
        began = time.perf_counter()
        scenes = [one.begin for one in find_scenes(video, Sampling())]
        looking = time.perf_counter() - began
    off = [min(abs(begin - one) for one in scenes) for begin in begins]
    near = [distance for distance in off if distance <= NEAR]
    return {
        "scenes": len(begins),
        "found": len(near),
        "extra": len(scenes) - len(near),
        "worst_s": round(max(near), 3),
        "frames_per_s": round(frames / looking, 1),
        "decoded_per_s": round(frames / decoding, 1),
        **memory,
    }


def main() -> None:
    parser = make_parser("video", __doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the film")
    parser.add_argument("--height", type=int, default=720, help="pixels; it is 16 to 9 wide")
    options = parse(parser, {"seconds": 24.0, "height": 90})
    towers.FOLDER.mkdir(parents=True, exist_ok=True)
    path = towers.FOLDER / f"film-{options.height}-{options.seconds:.0f}.mp4"
    begins = make_film(path, options.seconds, options.height)
    try:
        found = measure(path, begins)
    finally:
        path.unlink()
    columns = ["scenes", "found", "extra", "worst s", "frames/s", "decoded/s", "MB"]
    report.table(f"{options.seconds:.0f} s of {options.height} lines", columns, [list(found.values())])
    report.finish("video", found, {"seconds": options.seconds, "height": options.height, "begins": begins})


if __name__ == "__main__":
    main()
