import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.places import MINI
from tests.training.evaluation.shards import Drawing, write_shards
from training.evaluation.__main__ import main
from training.evaluation.datasets import WebDataset
from training.evaluation.errors import EvaluationError
from training.evaluation.labelled_images import ImageFolder, open_labelled

CLASSES = 6
COLORS = ("white", "lightyellow", "lightblue", "lightgreen", "pink", "lightgrey", "beige", "lavender")


def on_background(drawing: bytes, number: int) -> bytes:
    """The drawing, smaller, somewhere on a coloured ground."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(drawing)) as image:
        ground = Image.new("RGB", image.size, COLORS[number % len(COLORS)])
        small = image.convert("RGB").resize((image.width * 2 // 3, image.height * 2 // 3))
        ground.paste(small, (number * 3 % (image.width // 3), number * 5 % (image.height // 3)))
        ground.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(drawings: list[Drawing], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of five images to learn from and three to be asked for, each in a folder of its own."""
    made = tmp_path_factory.mktemp("data") / "on-grounds"
    for number, (image, names) in enumerate(drawings[:CLASSES]):
        for split, count in (("train", 5), ("test", 3)):
            place = made / split / names["en"].replace("/", "-") / "deep"
            place.mkdir(parents=True)
            for one in range(count):
                seed = number + 5 * one + (0 if split == "train" else 3)
                (place / f"{one}.png").write_bytes(on_background(image, seed))
    (made / ".cache").mkdir()
    (made / "train" / ".hidden").mkdir()
    return made


def test_names_of_folders_are_the_classes(folder: Path) -> None:
    """Protects labels from depending on a split: one order of the classes that are in any of them."""
    (folder / "val" / "another").mkdir(parents=True)
    train, test = (ImageFolder(folder, split) for split in ("train", "test"))
    assert train.classes("en") == test.classes("en")
    names = train.classes("en")
    assert len(names) == CLASSES + 1
    assert names == sorted(names)
    assert "another" in names
    for split, count in ((train, 5), (test, 3)):
        labels = [names[label] for label in split.labels(len(names)).tolist()]
        found = [Path(picture.name).parts[-3] for picture in split.pictures()]
        assert labels == found
        assert len(found) == CLASSES * count
    (folder / "val" / "another").rmdir()
    (folder / "val").rmdir()


def test_what_is_no_labelled_folder_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    """Protects people who have a typing error in a split's name, or empty folders."""
    with pytest.raises(EvaluationError, match=r"has no split tset: .* its folders are: test, train"):
        open_labelled(folder, "tset")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(EvaluationError, match="has no images; they must be in train/CLASS/"):
        open_labelled(tmp_path, "train")
    with pytest.raises(EvaluationError, match="its folders are: none"):
        open_labelled(tmp_path / "nowhere", "train")


def test_shards_are_taken_too(drawings: list[Drawing], tmp_path: Path) -> None:
    """Protects CLIP_benchmark's own layout, whose split is opened where there are shards."""
    samples = [[("s0.png", drawings[0][0]), ("s0.cls", b"0")]]
    write_shards(tmp_path, samples, split="train")
    assert isinstance(open_labelled(tmp_path, "train"), WebDataset)
    with pytest.raises(EvaluationError, match=r"the splits of .* are: train"):
        open_labelled(tmp_path, "test")


@pytest.mark.slow  # evaluates a model
def test_a_probe_of_a_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects the command: table, last line, file, and the gate against an earlier result."""
    output = tmp_path / "probe.json"
    words = [str(MINI), "--dataset", str(folder), "--task", "linear_probe"]
    main([*words, "--output", str(output)])
    last = json.loads(capsys.readouterr().out.rstrip().rsplit("\n", 1)[1].removeprefix("result: "))
    assert last["task"] == "linear_probe"
    assert last["mean"]["lp_acc1"] > 0.5  # chance is a sixth
    result = json.loads(output.read_text(encoding="utf-8"))
    assert result["items"] == {"images": 18, "classes": 6, "train": 24, "val": 6}
    assert set(result["settings"]) == {"C", "val_acc1", "seed"}
    main([*words, "--baseline", str(output)])
    result["metrics"]["lp_acc1"] = 1.5
    output.write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"lp_acc1 fell from 1\.5000"):
        main([*words, "--baseline", str(output)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--language", "de"], "a linear probe knows no language"),
        (["--val-proportion", "1"], "must be between 0 and 1"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a flag that would be passed over in silence."""
    with pytest.raises(SystemExit):
        main(["model", "--dataset", "x", "--task", "linear_probe", *words])
    assert message in capsys.readouterr().err
