"""The measures of the photographs' recipe: what a photograph shows, and what counts as right."""

import json
import shutil
from pathlib import Path

import pytest

from tests.miniature import NAMES
from tests.places import MINI
from tests.training.recipes.photos.seer import Seer, coloured
from tests.training.stages.heads.flags import flags, options
from training.datasets.rows import DataError
from training.recipes.photos import captions, evaluate, photographs
from training.stages.heads import inputs as heads_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs whose captions name what they show, and one whose captions do not agree."""
    return coloured(
        tmp_path / "photographs",
        [
            ("red", "red", ["A red circle on a wall", "two Red Circles", "something else"]),
            ("green", "green", ["a green square", "the green square and a red circle", "green squares"]),
            ("blue", "blue", ["a blue circle", "a thing", "another"]),
        ],
    )


def test_a_photograph_shows_what_two_captions_name(folder: Path) -> None:
    """Protects the labels: one caption alone does not make one, and plurals and capitals do not hide one."""
    found = photographs.things_in(photographs.read_captioned(folder), NAMES["en"])
    assert found == [{"🔴"}, {"🟩"}, set()]
    assert photographs.things_in(photographs.read_captioned(folder), {"x": "man"})[0] == set()


def test_locales_are_measured_by_their_own_names(folder: Path, emoji_root: Path, tmp_path: Path) -> None:
    """Protects the figures: a language whose names mean nothing scores less, and the worst one is named."""
    for name in ("red", "blue"):
        (tmp_path / "classes" / f"{name}_circle").mkdir(parents=True)
        shutil.copy(folder / f"{name}.png", tmp_path / "classes" / f"{name}_circle")
    report = evaluate.evaluate(Seer(), folder, emoji_root, least=2, folders=tmp_path / "classes")
    result = evaluate.result_of(report)
    assert result["zero_shot_en"] == 1
    assert result["locales"] == 3
    assert result["worst_locale"] == "de"
    assert result["zero_shot_worst"] == 0.5
    assert result["zero_shot_mean"] == round((1 + 1 + 0.5) / 3, 4)
    assert (result["photographs"], result["candidates_en"]) == (2, 2)
    assert result["folders_top1"] == 1
    assert 0 < result["retrieval_r1"] <= result["retrieval_r10"] == 1
    some = evaluate.evaluate(Seer(), folder, emoji_root, least=2, locales=["ja"])
    assert set(some["locales"]) == {"en", "ja"}
    with pytest.raises(DataError, match="the data has no locale xx"):
        evaluate.evaluate(Seer(), folder, emoji_root, least=2, locales=["xx"])
    with pytest.raises(DataError, match="its captions name fewer than 5 things"):
        evaluate.evaluate(Seer(), folder, emoji_root, least=5)


def test_the_command_measures_a_checkpoint(
    folder: Path, emoji_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the documented command: any source that export takes gives the keys of the last line."""
    output = tmp_path / "report.json"
    places = ["--photographs", str(folder), "--data", str(emoji_root), "--output", str(output)]
    evaluate.main([str(MINI), *places, "--least", "2"])
    last = capsys.readouterr().out.splitlines()[-1]
    result = json.loads(last.removeprefix("result: "))
    due = {"zero_shot_en", "zero_shot_mean", "locales", "worst_locale", "retrieval_r1", "retrieval_r10"}
    assert due <= result.keys()
    assert json.loads(output.read_text())["things"] == ["green square", "red circle"]
    with pytest.raises(SystemExit, match=r"evaluate: .*captions\.json cannot be read"):
        evaluate.main([str(MINI), "--photographs", str(tmp_path), "--data", str(emoji_root)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read"),
        ("{}", "must be a list"),
        ('[{"file": "../a.png", "captions": ["x"]}]', r"\[0\] needs a file"),
        ('[{"file": "a.png", "captions": []}]', r"\[0\] needs captions"),
        ('[{"file": "a.png", "captions": ["x"]}]', "names a.png, which is not there"),
    ],
)
def test_captions_of_another_form_are_refused(content: str, says: str, tmp_path: Path) -> None:
    """Protects from figures of something else: a fault in captions.json names its row."""
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(DataError, match=says):
        photographs.read_captioned(tmp_path)
    with pytest.raises(DataError, match="at least two classes"):
        photographs.read_folders(tmp_path)


def test_open_images_become_a_data_set_for_heads(
    folder: Path, emoji_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects both phases' data: drawings with their names, and photographs, in COCO's layout."""
    captions.main(["emoji", str(emoji_root), str(tmp_path / "emoji"), "--locales", "en", "ja"])
    captions.main(["photographs", str(folder), str(tmp_path / "photos")])
    assert "24 images" in capsys.readouterr().out
    drawn = heads_inputs.read_examples(options(flags(tmp_path, tmp_path / "emoji", tmp_path)))
    assert len(drawn) == 4 * 6
    assert drawn[0].captions == ("red circle", "赤い丸")
    seen = heads_inputs.read_examples(options(flags(tmp_path, tmp_path / "photos", tmp_path)))
    assert [len(one.captions) for one in seen] == [3, 3, 3]
    assert seen[0].read() == (folder / "red.png").read_bytes()
    with pytest.raises(SystemExit, match="the data has no locale xx"):
        captions.main(["emoji", str(emoji_root), str(tmp_path / "again"), "--locales", "xx"])
