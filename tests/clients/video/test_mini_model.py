"""The committed model on a real film: drawings as scenes, found by their names in several languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip import Client
from babelclip.video import Sampling, search_video
from tests.clients.video.films import write_film
from tests.places import SAMPLES
from tests.shared import mini_store

DRAWINGS = "🐕🍕🚲🚀🎸🍓"
QUERIES = {"pizza": "🍕", "Fahrrad": "🚲", "guitarra": "🎸", "fusée": "🚀", "いちご": "🍓"}
LENGTH = 3.0


def drawing(emoji: str) -> np.ndarray:
    """A drawing on white, as a frame."""
    canvas = Image.new("RGBA", (160, 120), "white")
    with Image.open(SAMPLES / f"{ord(emoji):x}.png") as picture:
        shown = picture.convert("RGBA").resize((110, 110))
    canvas.alpha_composite(shown, (25, 5))
    return np.asarray(canvas.convert("RGB"))


@pytest.mark.slow
def test_drawings_in_a_film_are_found_by_their_names(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each query's best range is the scene of that drawing, within a second at both ends."""
    frames = [drawing(emoji) for emoji in DRAWINGS for _ in range(round(LENGTH * 10))]
    film = write_film(tmp_path / "film.mp4", frames)
    with Client(f"mar:{mini_store(tmp_path_factory)}") as client:
        found = search_video(client, film, list(QUERIES), top=1, sampling=Sampling(every=0.5))
    for (query, emoji), (best,) in zip(QUERIES.items(), found, strict=True):
        begin = LENGTH * DRAWINGS.index(emoji)
        assert best.begin == pytest.approx(begin, abs=1.0), query
        assert best.end == pytest.approx(begin + LENGTH, abs=1.0), query
        assert begin <= best.best < begin + LENGTH
