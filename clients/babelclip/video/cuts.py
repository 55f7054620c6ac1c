"""Where one scene ends and the next begins: frames that differ more than those around them.

Frames are compared as pictures of 32 × 18 pixels, in which little movements vanish, ten times a second. A cut
is a difference that stands out from those of the second before and after, as in PySceneDetect's adaptive
detector (https://www.scenedetect.com); that library was weighed, and left for the OpenCV that it needs. A
dissolve or a fade has no such frame: it is a great difference over a second, between two that are still.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tiny = NDArray[np.float32]

SPAN = 1.0  # seconds before and after a frame that it is judged by
LASTING = 0.3  # seconds around a cut, between which the difference must be there; after a flash it is not
FEWEST = 3  # frames before and after, where they are further apart
FADE_FRAMES = 5  # in a second, without which a fade cannot be told from a cut


@dataclass(frozen=True, kw_only=True)
class CutSettings:
    """What counts as a new scene.

    Attributes:
        threshold: the least difference, the mean of all pixels and colours from 0 to 255.
        ratio: how many times as great it must be as the differences around it.
        shortest: seconds of a scene at least; of cuts that are closer the first one counts.
        rate: frames that are compared in a second of film.
    """

    threshold: float = 8.0
    ratio: float = 3.0
    shortest: float = 0.6
    rate: float = 10.0


@dataclass(frozen=True, eq=False)
class _Seen:
    time: float
    tiny: Tiny
    change: float  # from the frame before


class CutDetector:
    """Frames in order → the times at which scenes begin, each about a second later.

    Attributes:
        change: how much the last frame differs from the one before.
    """

    def __init__(self, settings: CutSettings) -> None:
        self.change = 0.0
        self._settings = settings
        self._seen: deque[_Seen] = deque()
        self._judged = 0  # of `_seen`, from its beginning
        self._last = -np.inf  # the last cut, or the beginning

    @property
    def settled(self) -> float:
        """No cut before this time is still to come."""
        return self._seen[self._judged].time - SPAN / 2 if self._judged < len(self._seen) else -np.inf

    def wants(self, time: float) -> bool:
        """Whether a frame of this time is to be added; so it is for the same ones wherever a film begins."""
        rate = self._settings.rate
        return not self._seen or int(time * rate + 1e-6) > int(self._seen[-1].time * rate + 1e-6)

    def add(self, time: float, tiny: Tiny) -> list[float]:
        """The next frame → cuts that are certain now."""
        self.change = difference(tiny, self._seen[-1].tiny) if self._seen else 0.0
        if not self._seen:
            self._last = time
        self._seen.append(_Seen(time, tiny, self.change))
        found = []
        while self._judged + FEWEST < len(self._seen) and self._seen[self._judged].time + SPAN < time:
            found += self._judge()
        while self._judged > 2 * FEWEST and self._seen[0].time < self._seen[self._judged].time - 2.5 * SPAN:
            self._seen.popleft()
            self._judged -= 1
        return found

    def finish(self) -> list[float]:
        """After the last frame: the cuts among the last ones."""
        found = []
        while self._judged < len(self._seen):
            found += self._judge()
        return found

    def _judge(self) -> list[float]:
        frames, index = list(self._seen), self._judged
        self._judged += 1
        time = frames[index].time
        if index == 0:
            return []
        if self._is_cut(frames, index):
            begin = time
        elif self._is_fade(frames, index):
            begin = time - SPAN / 2
        else:
            return []
        if begin - self._last < self._settings.shortest - 1e-6:
            return []
        self._last = begin
        return [begin]

    def _is_cut(self, frames: list[_Seen], index: int) -> bool:
        one, settings = frames[index], self._settings
        if one.change < settings.threshold:
            return False
        around = [
            other.change
            for position, other in enumerate(frames)
            if position not in (0, index)
            and (abs(other.time - one.time) <= SPAN or abs(position - index) <= FEWEST)
        ]
        if around and one.change < settings.ratio * float(np.median(around)):
            return False
        # Of a dissolve, the frames before or after differ as much; a cut may be spread over two frames.
        beside = [frames[at].change for at in (index - 2, index + 2) if 0 < at < len(frames)]
        if beside and one.change < 2 * max(beside):
            return False
        later = next((f for f in frames[index:] if f.time >= one.time + LASTING), frames[-1])
        earlier = next((f for f in reversed(frames[:index]) if f.time <= one.time - LASTING), frames[0])
        lasting = min(difference(later.tiny, f.tiny) for f in (frames[index - 1], earlier))
        return lasting >= max(settings.threshold, one.change) / 2

    def _is_fade(self, frames: list[_Seen], index: int) -> bool:
        one = frames[index]
        times = [frame.time for frame in frames]
        first, before, after = (
            int(np.searchsorted(times, one.time + offset - 1e-6)) for offset in (-2 * SPAN, -SPAN, SPAN)
        )
        known = times[0] <= one.time - 2 * SPAN + 0.2 and times[-1] >= one.time + SPAN - 0.2
        if not known or index - before < FADE_FRAMES:
            return False
        after = min(after, len(frames) - 1)
        whole = difference(one.tiny, frames[before].tiny)
        if whole < 1.5 * self._settings.threshold:
            return False
        if max(frame.change for frame in frames[first + 1 : after + 1]) > whole / 2:
            return False
        still = max(
            difference(frames[before].tiny, frames[first].tiny), difference(frames[after].tiny, one.tiny)
        )
        return still < whole / 3


def difference(one: Tiny, other: Tiny) -> float:
    """How much two tiny pictures differ: the mean over pixels and colours, from 0 to 255."""
    return float(np.abs(one - other).mean())
