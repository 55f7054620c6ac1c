import json
from pathlib import Path

import pytest

from tests.places import REPOSITORY
from tests.training.evaluation.shards import COUNT
from training.evaluation.__main__ import main

pytestmark = pytest.mark.slow  # evaluates a model

MINI = str(REPOSITORY / "training" / "recipes" / "mini" / "checkpoint")


def last_line(text: str) -> dict[str, object]:
    before, line = text.rstrip().rsplit("\n", 1)
    assert before
    found: dict[str, object] = json.loads(line.removeprefix("result: "))
    return found


def test_retrieval_in_three_languages(
    retrieval_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the whole command: far better than chance in every language, files, table and last line."""
    words = [MINI, "--dataset", str(retrieval_folder), "--task", "zeroshot_retrieval"]
    output = tmp_path / "results.json"
    main([*words, "--output", str(output)])
    printed = capsys.readouterr().out
    assert "image R@10" in printed
    last = last_line(printed)
    assert last["languages"] == 3
    assert last["passed"] is True
    assert last["mean"]["image_retrieval_recall@10"] > 0.8  # type: ignore[index]
    german = json.loads((tmp_path / "results_de.json").read_text(encoding="utf-8"))
    assert german["language"] == "de"
    assert german["items"] == {"images": COUNT, "texts": COUNT}
    assert set(german["intervals"]) == set(german["metrics"])

    main([*words, "--language", "jp", "--baseline", str(output)])  # the same again drops nothing
    german["metrics"]["text_retrieval_recall@5"] = 2.0
    (tmp_path / "results_de.json").write_text(json.dumps(german), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"drawings, de: text_retrieval_recall@5 fell from 2\.0000 to"):
        main([*words, "--language", "de", "--baseline", str(output), "--max-drop", "0.5"])
    assert last_line(capsys.readouterr().out)["passed"] is False


def test_classification_in_two_languages(
    classification_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects zero-shot classification end to end, with the folder's and with built-in templates."""
    words = [MINI, "--dataset", str(classification_folder), "--task", "zeroshot_classification"]
    main([*words, "--language", "en", "de", "--output", str(tmp_path / "{language}.json")])
    last = last_line(capsys.readouterr().out)
    assert last["mean"]["acc1"] > 10 / COUNT  # type: ignore[index]
    english, german = (json.loads((tmp_path / f"{code}.json").read_text()) for code in ("en", "de"))
    assert list(english["metrics"]) == ["acc1", "acc5", "mean_per_class_recall"]
    assert english["items"]["templates"] == 2
    assert german["items"]["templates"] == 7
    (classification_folder / "classnames.fr.txt").write_text("chien\n", encoding="utf-8")
    try:
        with pytest.raises(SystemExit, match=rf"numbers of classes: {{'en': {COUNT}, 'fr': 1}}"):
            main([*words, "--language", "en", "fr"])
    finally:
        (classification_folder / "classnames.fr.txt").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([MINI, "--dataset", "nowhere"], r"^training\.evaluation: nowhere is no data set"),
        (["nowhere", "--dataset", "DATA"], "nowhere: no such file or folder"),
        (["--url", "ftp://x", "--dataset", "DATA"], "--url ftp://x: "),
        ([MINI, "--dataset", "DATA", "--baseline", "nowhere.json"], "there is no earlier result"),
        ([MINI, "--dataset", "DATA", "--language", "fr"], "no captions in 'fr'"),
    ],
)
def test_what_is_missing_is_a_sentence(retrieval_folder: Path, words: list[str], message: str) -> None:
    """Protects the command from tracebacks."""
    filled = [str(retrieval_folder) if word == "DATA" else word for word in words]
    with pytest.raises(SystemExit, match=message):
        main([*filled, "--task", "zeroshot_retrieval"])
