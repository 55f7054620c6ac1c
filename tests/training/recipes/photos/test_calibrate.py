"""The curves of the photographs' recipe: measured on names and on parts of photographs."""

import json
from pathlib import Path

import pytest

from babelclip import read_search_calibration
from models.loaders import registry
from tests.places import MINI, PHOTOS
from tests.training.recipes.photos.seer import Seer, coloured
from training.datasets.rows import DataError
from training.recipes.photos import calibrate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve red circles, and twelve green squares."""
    names = {"red": "red circle", "green": "green square"}
    rows = [
        (f"{colour}{number}", colour, [f"a {name}"] * 2)
        for colour, name in names.items()
        for number in range(12)
    ]
    return coloured(tmp_path / "photographs", rows)


def test_what_fits_is_told_from_what_does_not(folder: Path, emoji_root: Path) -> None:
    """Protects the line of a search: a right name is above it, and a wrong one below."""
    made = calibrate.calibrate(Seer(), folder, emoji_root, ["en", "ja"])
    assert made.space == Seer.space
    assert made.text is not None
    assert made.image is not None
    assert (made.text.pairs, made.image.pairs) == (48, 24)
    assert made.text.probability(1.0) > 0.9
    assert made.text.probability(-0.5) < 0.1
    with pytest.raises(DataError, match="the data has no locale xx"):
        calibrate.calibrate(Seer(), folder, emoji_root, ["xx"])


def test_the_command_writes_what_a_gateway_reads(
    folder: Path, emoji_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the command: the file is of the checkpoint's space, and too few photographs are refused."""
    output = tmp_path / "calibration.json"
    words = [str(MINI), "--data", str(emoji_root), "--locales", "en", "--output", str(output)]
    calibrate.main([*words, "--photographs", str(folder)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("result: "))
    assert result.keys() == {"text_half", "text_pairs", "image_half", "image_pairs"}
    assert read_search_calibration(output).space == registry.space_of(MINI)
    few = coloured(
        tmp_path / "few", [("one", "red", ["a red circle"] * 2), ("two", "green", ["a green square"] * 2)]
    )
    with pytest.raises(SystemExit, match="a calibration needs at least 20 pairs"):
        calibrate.main([*words, "--photographs", str(few)])


def test_the_committed_one_is_of_the_committed_heads() -> None:
    """Protects the demonstration: a file of another space would be no line at all."""
    found = read_search_calibration(PHOTOS.with_name("calibration.json"))
    assert found.space == registry.space_of(PHOTOS)
    assert found.text is not None
    assert found.text.slope > 0
    assert found.image is not None
    assert found.image.slope > 0
