"""The scenes of a film, each with the frame that shows it best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from babelclip.video.decoding import Video
from babelclip.video.sampling import Sampling, sample_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """From one cut to the next.

    Attributes:
        begin, end: seconds from the beginning of the film.
        key_frame: when the frame that stands for it is shown.
        image: that frame as a JPEG.
    """

    begin: float
    end: float
    key_frame: float
    image: bytes


def find_scenes(video: Video, sampling: Sampling | None = None) -> Iterator[Scene]:
    """The scenes of a film in order, each as soon as the next one begins.

    A scene's key frame is that of its samples which moves least and has most contrast, so neither a black
    frame nor a blurred one where there are others.

    Raises:
        VideoError: it cannot be decoded.
        ValueError: `sampling` does not look at scenes.
    """
    sampling = sampling or Sampling()
    if sampling.cuts is None:
        raise ValueError("to find scenes, sampling.cuts must say what counts as one")
    waiting: Scene | None = None
    for _, samples in groupby(sample_frames(video, sampling), key=lambda sample: sample.scene):
        best = max(samples, key=lambda sample: sample.quality)
        if waiting is not None:
            yield _ended(waiting, best.scene_begin)
        waiting = Scene(begin=best.scene_begin, end=0.0, key_frame=best.time, image=best.image)
    if waiting is not None:
        yield _ended(waiting, video.seconds)


def _ended(scene: Scene, end: float) -> Scene:
    return Scene(begin=scene.begin, end=end, key_frame=scene.key_frame, image=scene.image)
