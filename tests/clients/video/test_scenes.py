"""Scenes and samples of films whose scenes are known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip.video import (
    CutSettings,
    Decoding,
    Sample,
    Sampling,
    Scene,
    find_scenes,
    open_video,
    sample_frames,
)
from babelclip.video import sampling as sampling_module
from babelclip.video.frames import encoded
from tests.clients.video.films import Pixels, moving, scene, write_film

LENGTHS = (3.0, 1.2, 4.0, 2.0, 0.8, 5.0, 2.5, 3.0, 1.0, 2.0, 6.0, 2.5)
BEGINS = tuple(float(begin) for begin in np.cumsum([0.0, *LENGTHS[:-1]]))
RATE = 10


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes of a hand-held camera, with a flash in the sixth."""
    shown: list[Pixels] = []
    for number, length in enumerate(LENGTHS):
        part = moving(scene(number), round(length * RATE), seed=number)
        if number == 5:
            part[25] = np.full_like(part[25], 255)
        shown += part
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", shown, rate=RATE)


def scenes_of(path: Path, sampling: Sampling | None = None, **decoding: object) -> list[Scene]:
    with open_video(path, Decoding(**decoding)) as video:  # type: ignore[arg-type]
        return list(find_scenes(video, sampling))


def samples_of(path: Path, sampling: Sampling | None = None, start: float = 0.0) -> list[Sample]:
    with open_video(path) as video:
        return list(sample_frames(video, sampling, start=start))


def nearest(image: bytes) -> int:
    """Which scene a picture shows."""
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB").resize((128, 72)), dtype=np.float32)
    # A moving camera has moved it sideways.
    return int(
        np.argmin(
            [
                min(
                    np.abs(np.roll(scene(number), shift, axis=1) - pixels).mean() for shift in range(0, 32, 2)
                )
                for number in range(len(LENGTHS))
            ]
        )
    )


def test_twelve_planted_scenes_are_found_where_they_begin(film: Path) -> None:
    """Twelve scenes of 0.8 to 6 seconds: all of them within a frame, and no other."""
    found = scenes_of(film)
    np.testing.assert_allclose([one.begin for one in found], BEGINS, atol=0.11)
    assert [one.end for one in found[:-1]] == [one.begin for one in found[1:]]
    assert found[-1].end == pytest.approx(sum(LENGTHS), abs=0.11)


def test_a_key_frame_shows_its_own_scene(film: Path) -> None:
    """Each scene's picture is of that scene, upright and whole."""
    found = scenes_of(film)
    assert all(one.begin <= one.key_frame < one.end for one in found)
    assert [nearest(one.image) for one in found] == list(range(len(LENGTHS)))


@pytest.mark.parametrize("black", [False, True])
def test_dissolves_and_fades_are_new_scenes(tmp_path: Path, black: bool) -> None:
    """A scene that comes up slowly is found within a second, though no two frames differ much."""
    first, second = (scene(number).astype(np.float32) for number in (1, 2))
    between = [weight / 9 for weight in range(10)]
    if black:
        blended = [first * max(0.0, 1 - 2 * w) + second * max(0.0, 2 * w - 1) for w in between]
    else:
        blended = [first * (1 - w) + second * w for w in between]
    shown = [*([first] * 40), *blended, *([second] * 40)]
    path = write_film(tmp_path / "film.mp4", [one.astype(np.uint8) for one in shown], rate=RATE)
    found = scenes_of(path)
    assert len(found) == 2
    assert found[1].begin == pytest.approx(4.5, abs=0.6)


def test_movement_is_no_new_scene(tmp_path: Path) -> None:
    """A camera that pans fast across one scene makes no cuts."""
    path = write_film(tmp_path / "film.mp4", moving(scene(3), 80, speed=4), rate=RATE)
    assert len(scenes_of(path)) == 1


def test_scenes_are_found_at_any_rate_of_frames(tmp_path: Path) -> None:
    """60 frames a second or one: a scene begins at the frame that begins it."""
    for rate, length in ((60, 2), (1, 8)):
        shown = [picture for number in range(3) for picture in [scene(number)] * (length * rate)]
        found = scenes_of(write_film(tmp_path / f"{rate}.mp4", shown, rate=rate))
        np.testing.assert_allclose([one.begin for one in found], [0, length, 2 * length], atol=0.11)


def test_samples_come_by_time_and_from_every_scene(film: Path) -> None:
    """`every` seconds there is one, and a scene that falls between two of them has its own."""
    found = samples_of(film, Sampling(every=3.0))
    times = [sample.time for sample in found]
    assert times == sorted(set(times))
    assert {round(time, 1) for time in times} >= {3.0 * step for step in range(int(sum(LENGTHS) // 3))}
    assert sorted({sample.scene for sample in found}) == list(range(len(LENGTHS)))
    np.testing.assert_allclose(sorted({sample.scene_begin for sample in found}), BEGINS, atol=0.11)
    assert len(found) <= sum(LENGTHS) / 3 + 1 + len(LENGTHS)


def test_without_a_look_at_scenes_samples_come_by_time_alone(film: Path) -> None:
    """Who wants a frame a second gets that, at the price of decoding alone."""
    found = samples_of(film, Sampling(every=2.0, cuts=None))
    np.testing.assert_allclose([sample.time for sample in found], np.arange(0, 33, 2), atol=0.05)
    with open_video(film) as video, pytest.raises(ValueError, match=r"sampling\.cuts"):
        next(find_scenes(video, Sampling(cuts=None)))


def test_samples_after_a_start_are_the_same_ones(film: Path) -> None:
    """What goes on in the middle of a film finds what it would have found."""
    whole = samples_of(film, Sampling(every=1.5))
    for start in (2.0, 8.2, 10.2, 20.5, 30.0):
        later = samples_of(film, Sampling(every=1.5), start=start)
        assert [one.time for one in later] == [one.time for one in whole if one.time >= start]
        assert [one.image for one in later] == [one.image for one in whole if one.time >= start]
        begins = [one.scene_begin for one in later if one.scene > later[0].scene]
        assert begins == [one.scene_begin for one in whole if one.time >= start][-len(begins) :]


def test_settings_of_cuts_decide(film: Path) -> None:
    """A higher threshold or a longest cut leaves scenes together, as its description says."""
    assert len(scenes_of(film, Sampling(cuts=CutSettings(threshold=200.0)))) == 1
    found = scenes_of(film, Sampling(cuts=CutSettings(shortest=2.0)))
    assert min(np.diff([one.begin for one in found])) >= 2.0 - 0.01
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="every must be"):
            Sampling(every=wrong)


def test_few_pictures_are_held_at_a_time(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures wait about a second for their scene to be certain, however long the film is."""
    made: list[float] = []

    def counting(picture: Image.Image) -> bytes:
        made.append(0.0)
        return encoded(picture)

    monkeypatch.setattr(sampling_module, "encoded", counting)
    with open_video(film) as video:
        waiting = [len(made) - count for count, _ in enumerate(sample_frames(video, Sampling(every=0.5)))]
    # Those that are left out because another stands for their scene never leave the count.
    assert max(waiting) <= 5 + 2 * len(LENGTHS)
