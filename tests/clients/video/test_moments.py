"""Moments of films: as rows of an index, and as answers to a query."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip import Calibration, SpaceMismatch
from babelclip.index import Hit, Index, Row, Settings, create_index, row_id
from babelclip.video import (
    Merging,
    Sampling,
    VideoError,
    find_moments,
    index_video,
    merge_hits,
    search_video,
)
from tests.clients.video.films import scene, write_film
from tests.clients.video.scene_tower import SCENES, SceneTower, scene_client
from tests.needs import needs
from tests.places import REPOSITORY

needs("lancedb", reason="an index in a folder is kept by LanceDB")

ORDER = (0, 1, 2, 3, 1, 4, 5, 6, 7, 8, 9, 10)
"""The scenes of the film, each of four seconds; the second comes twice."""
SETTINGS = Settings(space="in-memory", dim=SCENES, version="1.0")
SAMPLING = Sampling(every=0.5)
SMALL_BATCHES = Merging(batch_size=8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scenes of four seconds."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return write_film(path, [scene(number) for number in ORDER for _ in range(40)], options={"g": "20"})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with create_index(tmp_path / "films.index", SETTINGS) as made:
        yield made


def moments_of(index: Index) -> list[Row]:
    """All rows, by their begin."""
    columns = ("source", "kind", "begin", "end", "thumbnail", "fingerprint", "metadata", "error_code")
    rows = [row for part in index.scan(columns=columns) for row in part]
    return sorted(rows, key=lambda row: row.begin or 0.0)


def test_a_film_becomes_moments_in_an_index(index: Index, film: Path) -> None:
    """Each scene that looks alike is one row, from its begin to the next one's, with a picture of it."""
    made = index_video(index, scene_client(), film, sampling=SAMPLING, metadata={"album": "sea"})
    rows = moments_of(index)
    assert made.moments == len(rows) == len(ORDER)
    begins = np.array([row.begin for row in rows], np.float64)
    np.testing.assert_allclose(begins, [4 * number for number in range(12)], atol=0.11)
    ends = np.array([row.end for row in rows], np.float64)
    np.testing.assert_allclose(ends, [4 * number + 4 for number in range(12)], atol=0.11)
    for row, shown in zip(rows, ORDER, strict=True):
        assert (row.kind, row.source, row.metadata["album"]) == ("moment", str(film), "sea")
        assert row.id == row_id(str(film), row.begin)
        picture = np.asarray(Image.open(io.BytesIO(row.thumbnail)).convert("RGB"), dtype=np.float32)
        assert np.abs(picture - scene(shown)).mean() < 10


def test_a_query_gives_ranges_with_their_best_frames(index: Index, film: Path) -> None:
    """The range of a scene is found by its text, and a scene that comes twice is two ranges."""
    client = scene_client()
    index_video(index, client, film, sampling=SAMPLING)
    (best, *_) = find_moments(index, client, "scene 5")
    assert (best.begin, best.end) == pytest.approx((24, 28), abs=0.11)
    assert best.begin <= best.best < best.end
    assert best.cosine > 0.9
    twice = find_moments(index, client, "scene 1", threshold=0.5, source=str(film))
    assert sorted(round(found.begin) for found in twice) == [4, 16]
    assert find_moments(index, client, "scene 1", source="another film") == []
    assert find_moments(index, client, "scene 11", threshold=0.9) == []


def test_one_film_is_searched_without_an_index(film: Path) -> None:
    """A film and several queries: the same ranges, and the film is embedded once for all."""
    tower = SceneTower()
    with scene_client(tower) as client:
        first, second = search_video(client, film, ["scene 3", "scene 8"], top=1, sampling=SAMPLING)
    assert [round(found.begin) for found in first + second] == [12, 36]
    assert tower.images <= 48 * 2 + len(ORDER) + 1


def test_what_is_in_the_index_is_not_embedded_again(index: Index, film: Path) -> None:
    """A second run of the same film costs nothing, and one with other settings replaces all rows."""
    tower = SceneTower()
    client = scene_client(tower)
    first = index_video(index, client, film, sampling=SAMPLING)
    before = tower.images
    again = index_video(index, client, film, sampling=SAMPLING)
    assert (again.moments, again.known, again.frames) == (0, first.moments, 0)
    assert tower.images == before
    index_video(index, client, film, sampling=SAMPLING, merging=Merging(longest=1.0))
    rows = moments_of(index)
    assert len(rows) > len(ORDER)
    assert len({row.fingerprint for row in rows}) == 1


def test_a_film_that_has_changed_is_indexed_anew(index: Index, film: Path, tmp_path: Path) -> None:
    """Rows of what the file was before are gone when it is done, and not one row is lost before."""
    path = tmp_path / "film.mp4"
    path.write_bytes(film.read_bytes())
    index_video(index, scene_client(), path, sampling=SAMPLING)
    write_film(path, [scene(number) for number in (9, 3) for _ in range(25)])
    index_video(index, scene_client(), path, sampling=SAMPLING)
    assert [round(row.begin or 0.0, 1) for row in moments_of(index)] == [0.0, 2.5]


KILLED = """
import os, sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from babelclip.index import open_index
from babelclip.video import index_video
from tests.clients.video.scene_tower import scene_client
from tests.clients.video.test_moments import SAMPLING, SMALL_BATCHES

def progress(done, total):
    if done > 20:
        os._exit(9)

with open_index(sys.argv[1]) as index:
    settings = {"sampling": SAMPLING, "merging": SMALL_BATCHES, "progress": progress}
    index_video(index, scene_client(), sys.argv[2], **settings)
"""


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(index: Index, film: Path, tmp_path: Path) -> None:
    """What was committed before the kill is not embedded again, and the end is as if nobody had killed it."""
    with create_index(tmp_path / "whole.index", SETTINGS) as whole:
        undisturbed = SceneTower()
        index_video(whole, scene_client(undisturbed), film, sampling=SAMPLING, merging=SMALL_BATCHES)
        expected = [(row.id, row.begin, row.end, row.metadata) for row in moments_of(whole)]
    places = [str(REPOSITORY), str(REPOSITORY / "clients")]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "films.index"), str(film), *places]
    killed = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    committed = moments_of(index)
    assert 0 < len(committed) < len(expected)
    tower = SceneTower()
    made = index_video(index, scene_client(tower), film, sampling=SAMPLING, merging=SMALL_BATCHES)
    assert made.known == len(committed)
    assert tower.images <= undisturbed.images - 8 * 4
    assert [(row.id, row.begin, row.end, row.metadata) for row in moments_of(index)] == expected


def test_a_film_that_cannot_be_decoded_is_a_row_with_its_code(
    index: Index, film: Path, tmp_path: Path
) -> None:
    """What is missing from an index can be asked of it, and a film that was mended takes the row's place."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film")
    with pytest.raises(VideoError):
        index_video(index, scene_client(), path)
    (row,) = moments_of(index)
    assert (row.source, row.error_code) == (str(path), "video_undecodable")
    path.write_bytes(film.read_bytes())
    index_video(index, scene_client(), path, sampling=SAMPLING)
    assert [row.error_code for row in moments_of(index)] == [""] * len(ORDER)


def test_an_index_of_another_space_takes_no_moment(film: Path, tmp_path: Path) -> None:
    """Vectors of two models never stand in one index."""
    with create_index(tmp_path / "other.index", Settings(space="another", dim=SCENES)) as index:
        with pytest.raises(SpaceMismatch):
            index_video(index, scene_client(), film, sampling=Sampling(every=10))
        assert index.count() == 0


def hit(begin: float, cosine: float, source: str = "film") -> Hit:
    return Hit(
        Row(id=row_id(source, begin), source=source, kind="moment", begin=begin, end=begin + 1), cosine
    )


def test_neighbours_that_fit_nearly_as_well_are_one_range() -> None:
    """A range ends where the cosine falls below seven tenths of its height, at a gap, and with its film."""
    cosines = [0.1, 0.1, 0.5, 0.9, 0.8, 0.3, 0.1, 0.6, 0.1]
    hits = [hit(begin, cosine) for begin, cosine in enumerate(cosines)]
    found = merge_hits(hits, top=2)
    assert [(one.begin, one.end, one.cosine) for one in found] == [(3, 5, 0.9), (7, 8, 0.6)]
    apart = [hit(0, 0.9), hit(1.5, 0.9), hit(2.5, 0.9, "another"), *(hit(n, 0.1) for n in range(10, 20))]
    assert len(merge_hits(apart, threshold=0.5)) == 3
    assert merge_hits([]) == []
    assert merge_hits([hit(0, float("nan"))]) == []
    with pytest.raises(ValueError, match="top must be"):
        merge_hits(hits, top=0)


def test_a_calibration_gives_ranges_their_probability() -> None:
    """With a calibration each range says how likely it is a match, with none it says nothing."""
    hits = [hit(0, 0.9), hit(5, 0.1)]
    likely, unlikely = merge_hits(hits, calibration=Calibration("in-memory", 20.0, -10.0, 100))
    assert likely.probability is not None and likely.probability > 0.9  # noqa: PT018
    assert unlikely.probability is not None and unlikely.probability < 0.1  # noqa: PT018
    assert merge_hits(hits)[0].probability is None
