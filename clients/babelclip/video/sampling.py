"""Frames of a film that stand for it: one every second or so, and one of every scene.

with open_video("holiday.mp4") as video:
    for sample in sample_frames(video, Sampling(every=2.0)):
        print(sample.time, sample.scene_begin, len(sample.image))
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from babelclip.video.cuts import CutDetector, CutSettings
from babelclip.video.decoding import Video
from babelclip.video.frames import Frame, encoded

WARM_UP = 4.0  # seconds of film before a start in the middle, that the first cuts after it are judged by


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames stand for a film.

    Attributes:
        every: seconds between two of them.
        cuts: what counts as a new scene, each of which has at least one; None for no look at scenes.
        shortest_side: pixels of the shorter side of their pictures, at most. A vision tower shrinks them
            further.
    """

    every: float = 1.0
    cuts: CutSettings | None = field(default_factory=CutSettings)
    shortest_side: int = 512

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ValueError(f"every must be more than 0 seconds, not {self.every}")
        if self.shortest_side < 1:
            raise ValueError(f"shortest_side must be at least 1 pixel, not {self.shortest_side}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A frame that stands for what is around it.

    Attributes:
        time: seconds from the beginning of the film.
        scene: its scene, counted from 0.
        scene_begin: where that begins.
        image: the picture as a JPEG.
        quality: which of a scene's frames to show: high for one that is sharp and full of contrast.
    """

    time: float
    scene: int
    scene_begin: float
    image: bytes
    quality: float


@dataclass(frozen=True, eq=False)
class _Candidate:
    sample: Sample
    due: bool  # by time; the others stand for a scene that has no such one


def sample_frames(video: Video, sampling: Sampling | None = None, *, start: float = 0.0) -> Iterator[Sample]:
    """The samples of a film from `start` on, in order; no more than a few frames are held at a time.

    They are the same ones wherever it is begun, but for the numbers of scenes, which count from `start`.

    Raises:
        VideoError: it cannot be decoded; what came before was given.
    """
    sampling = sampling or Sampling()
    scenes = _Scenes(start)
    detector = CutDetector(sampling.cuts) if sampling.cuts is not None else None
    step = None  # the last one of `every` seconds that has its sample
    wanted: float | None = None  # when a scene that may have begun is to be looked at
    for frame in video.frames(max(0.0, start - WARM_UP) if detector else start):
        now = int(frame.time / sampling.every + 1e-6)
        due = step is None or now > step
        step = max(now, step or 0)
        tiny = None
        if detector is not None and detector.wants(frame.time):
            tiny = frame.tiny()
            scenes.begin(detector.add(frame.time, tiny))
            if sampling.cuts is not None and wanted is None and detector.change >= sampling.cuts.threshold:
                wanted = frame.time + sampling.cuts.shortest / 2
        looked = wanted is not None and frame.time >= wanted
        if looked:
            wanted = None
        if frame.time >= start and (due or looked or scenes.unseen()):
            scenes.add(_candidate(frame, sampling, detector, due))
        yield from scenes.until(detector.settled if detector else np.inf)
    if detector is not None:
        scenes.begin(detector.finish())
    yield from scenes.until(np.inf)


def _candidate(frame: Frame, sampling: Sampling, detector: CutDetector | None, due: bool) -> _Candidate:
    picture = frame.picture(sampling.shortest_side)
    contrast = float(np.asarray(picture.resize((32, 18)).convert("L"), dtype=np.float32).std())
    moved = detector.change if detector else 0.0
    sample = Sample(
        time=frame.time, scene=0, scene_begin=0.0, image=encoded(picture), quality=contrast - 2 * moved
    )
    return _Candidate(sample, due)


class _Scenes:
    """Candidates wait until it is certain in which scene they are."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._waiting: deque[_Candidate] = deque()
        self._begins: deque[float] = deque()  # of scenes that no sample was given of yet
        self._scene, self._begin = 0, start
        self._given = start > 0  # a sample of the current scene, be it before the start

    def begin(self, times: list[float]) -> None:
        self._begins += (time for time in times if time >= self._start)

    def unseen(self) -> bool:
        """Whether the newest scene has no candidate."""
        last = self._waiting[-1].sample.time if self._waiting else -np.inf
        return bool(self._begins) and last < self._begins[-1]

    def add(self, candidate: _Candidate) -> None:
        self._waiting.append(candidate)

    def until(self, settled: float) -> Iterator[Sample]:
        while self._waiting and self._waiting[0].sample.time < settled:
            candidate = self._waiting.popleft()
            time = candidate.sample.time
            while self._begins and self._begins[0] <= time:
                self._begin, self._given = self._begins.popleft(), False
                self._scene += self._begin > self._start
            if candidate.due or not self._given:
                self._given = True
                yield replace(candidate.sample, scene=self._scene, scene_begin=self._begin)
