"""The questions to photographs: the committed ones are sound, and what counts as an answer."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.places import MINI
from training.datasets.rows import DataError
from training.evaluation.embedding import Picture
from training.recipes.photos import photographs, questions

OPEN = {"CC-BY-2.0", "CC-BY-SA-2.0", "CC0-1.0"}
HEADER = "\t".join(questions.COLUMNS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, and three questions, the last of which no photograph answers rightly."""
    for name in ("cat", "dog", "bus"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    lines = [HEADER, "Katze\tde\tcat\tcat.png", "chien\tfr\tdog\tdog.png bus.png", "rouge\tfr\tred\tcat.png"]
    (tmp_path / questions.FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


SEEN = {"cat": (1.0, 0, 0), "dog": (0, 1.0, 0), "bus": (0, 0, 1.0)}
MEANT = {"Katze": (1.0, 0, 0), "chien": (0, 0.6, 0.8), "rouge": (0.5, 0, 0.8)}


class Seer:
    """Sees a photograph by the name of its file, and knows three words."""

    name, pretrained, space = "seer", "", "0"

    def embed_texts(self, texts: list[str]) -> Tensor:
        return F.normalize(torch.tensor([MEANT[text] for text in texts]), dim=-1)

    def embed_images(self, pictures: Iterable[Picture]) -> Tensor:
        return torch.tensor([SEEN[Path(picture.name).stem] for picture in pictures])


def test_an_answer_is_the_first_photograph(folder: Path) -> None:
    """Protects the figure: the first photograph decides, and any that shows the thing is right."""
    answers = questions.ask(Seer(), *questions.read(folder))
    assert [answer.files[0] for answer in answers] == ["cat.png", "bus.png", "bus.png"]
    assert [answer.is_right() for answer in answers] == [True, True, False]
    due = {"right": 2, "questions": 3, "languages": 2, "share": 0.6667, "within_3": 1.0}
    assert questions.result_of(answers) == due


def test_the_committed_questions_are_forty_in_twenty_languages() -> None:
    """Protects what the figure is of: two questions in each language, to photographs that are there."""
    asked, there = questions.read(questions.SAMPLES)
    assert Counter(Counter(question.language for question in asked).values()) == {2: 20}
    assert len({question.meaning for question in asked}) > 20
    assert len(there) == len(photographs.read_captioned(questions.SAMPLES))


def test_every_committed_photograph_has_a_licence_and_a_source() -> None:
    """Protects the authors: who took a photograph and under which licence stands beside it."""
    rows = json.loads((questions.SAMPLES / photographs.CAPTIONS).read_text(encoding="utf-8"))
    for row in rows:
        assert row["licence"] in OPEN
        assert row["source"]
        assert row["licence_url"].startswith(("http://creativecommons.org/", "https://creativecommons.org/"))
        with Image.open(questions.SAMPLES / row["file"]) as image:
            assert min(image.size) == 240


def test_the_command_asks_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the documented command: any source that export takes is asked and measured."""
    drawn = folder / "made" / "sheet.png"
    questions.main([str(MINI), "--folder", str(folder), "--sheet", str(drawn)])
    with Image.open(drawn) as image:
        assert image.format == "PNG"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert json.loads(lines[-1].removeprefix("result: "))["questions"] == 3
    with pytest.raises(SystemExit, match=r"questions: .*questions\.tsv cannot be read"):
        questions.main([str(MINI), "--folder", str(folder / "nowhere")])
    with pytest.raises(SystemExit):
        questions.main(["--folder", str(folder)])
    assert "name either CHECKPOINT or --url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["text\tlanguage", "x\tde"], "its first line must name text, language, meaning, photographs"),
        ([HEADER], "has no questions"),
        ([HEADER, "Katze\tde\tcat\t"], "line 2 needs a text and the photographs"),
        ([HEADER, "Katze\tde"], "line 2 needs a text and the photographs"),
        ([HEADER, "Katze\tde\tcat\tcow.png"], "line 2 names cow.png, which is not there"),
    ],
)
def test_a_table_of_another_form_is_refused(lines: list[str], says: str, folder: Path) -> None:
    """Protects from figures of something else: a fault in the table names its line."""
    (folder / questions.FILE).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=says):
        questions.read(folder)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=80))
def test_any_table_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Protects from stack traces: whatever bytes a table has, it is read or refused in a sentence."""
    folder = tmp_path_factory.mktemp("table")
    (folder / questions.FILE).write_bytes(HEADER.encode() + b"\n" + data)
    try:
        asked, _ = questions.read(folder)
    except DataError:
        return
    assert asked
