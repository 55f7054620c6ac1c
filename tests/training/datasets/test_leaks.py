"""The command that looks for images which training and held-out data share."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.training.datasets.folders import picture
from training.datasets import leaks


def table(folder: Path, images: dict[str, bytes]) -> Path:
    """open_clip's table of these images."""
    folder.mkdir()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    path = folder / "captions.tsv"
    rows = [f"{folder / name}\ta picture" for name in images]
    path.write_text("\n".join(["filepath\ttitle", *rows]) + "\n", encoding="utf-8")
    return path


def saved_again(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "JPEG", quality=40)
    return out.getvalue()


def test_the_same_file_and_a_picture_saved_again_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the claim that held-out figures are of unseen images: both kinds of leak are named."""
    ours = table(tmp_path / "ours", {f"{seed}.jpg": picture(seed) for seed in range(20)})
    same, again = picture(3), saved_again(picture(5))
    theirs = table(tmp_path / "theirs", {"same.jpg": same, "again.jpg": again, "new.jpg": picture(99)})
    output = tmp_path / "leaks.jsonl"
    given = ["--format", "table", "--data", str(ours), "--against", str(theirs), "--output", str(output)]
    assert leaks.main(given) == leaks.SHARED
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    found = {(Path(row["training"]).name, Path(row["held_out"]).name, row["kind"]) for row in rows}
    assert found == {("3.jpg", "same.jpg", "same file"), ("5.jpg", "again.jpg", "near duplicate")}
    assert "20 images to train on, 3 held out: 1 the same file, 1 near" in capsys.readouterr().out


def test_a_split_without_leaks_passes(tmp_path: Path) -> None:
    """Protects the exit code that a script relies on: distinct images, split by their keys, share nothing."""
    ours = table(tmp_path / "ours", {f"{seed}.jpg": picture(seed) for seed in range(20)})
    assert leaks.main(["--format", "table", "--data", str(ours), "--held-out", "0.3"]) == 0


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects users from a stack trace when a file name is wrong or a share is none."""
    assert leaks.main(["--format", "table", "--data", str(tmp_path / "none.tsv")]) == leaks.UNREADABLE
    assert "none.tsv" in capsys.readouterr().err
    ours = table(tmp_path / "ours", {"1.jpg": picture(1)})
    assert leaks.main(["--format", "table", "--data", str(ours), "--held-out", "2"]) == leaks.UNREADABLE
    assert "within 0 and 1" in capsys.readouterr().err
