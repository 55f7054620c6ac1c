import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.evaluation.shards import COUNT, Drawing, write_shards
from training.evaluation.caption_files import Jsonl, Xtd10, open_retrieval
from training.evaluation.datasets import WebDataset
from training.evaluation.errors import EvaluationError

PNG = ("s0.png", b"image")


def npy(values: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values))
    return out.getvalue()


def test_shards_are_read_in_order(retrieval_folder: Path, drawings: list[Drawing]) -> None:
    """Protects the order of images and captions over several shards, in every language."""
    data = open_retrieval(retrieval_folder)
    assert [picture.data for picture in data.pictures()] == [image for image, _ in drawings]
    assert [captions[0] for captions in data.captions("en")] == [names["en"] for _, names in drawings]
    assert [len(captions) for captions in data.captions("en")] == [2, 1, 1] * (COUNT // 3)
    assert data.captions("jp") == [[names["ja"]] for _, names in drawings]
    assert data.languages("zeroshot_retrieval") == ["en", "de", "ja"]


def test_classes_labels_and_templates_are_read(classification_folder: Path, drawings: list[Drawing]) -> None:
    """Protects the classes of each language, and the built-in templates where the folder has none."""
    data = WebDataset(classification_folder)
    assert data.classes("de") == [names["de"] for _, names in drawings]
    assert data.labels(COUNT).tolist()[:5] == [0, 0, 1, 2, 3]
    assert data.templates("en") == ["a drawing of a {c}.", "{c}"]
    assert "{c}の写真。" in data.templates("ja")
    assert data.languages("zeroshot_classification") == ["en", "de", "ja"]


def test_images_may_have_several_classes(tmp_path: Path) -> None:
    """Protects .npy labels of a multilabel folder."""
    rows = [[1, 0, 1], [0, 1, 0]]
    samples = [[(f"s{i}.jpg", b"image"), (f"s{i}.npy", npy(row))] for i, row in enumerate(rows)]
    folder = write_shards(tmp_path, samples)
    (folder / "dataset_type.txt").write_text("multilabel\n", encoding="utf-8")
    assert WebDataset(folder).labels(3).int().tolist() == rows


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([("s0.cls", b"0")], r"0\.tar: s0 has no image; it must have one of \.webp, \.png"),
        ([PNG], r"0\.tar: s0 has no \.cls, so no class"),
        ([PNG, ("s0.cls", b"2")], r"s0\.cls must hold the number of a class, 0 to 1, not '2'"),
        ([PNG, ("s0.cls", b"-1")], r"s0\.cls must hold the number of a class, 0 to 1, not '-1'"),
        ([PNG, ("s0.cls", b"\xff")], r"s0\.cls is no UTF-8"),
    ],
)
def test_a_broken_sample_is_named(tmp_path: Path, sample: list[tuple[str, bytes]], message: str) -> None:
    """Protects the person who has to find one bad member among thousands."""
    data = WebDataset(write_shards(tmp_path, [sample]))
    with pytest.raises(EvaluationError, match=message):
        list(data.pictures()), data.labels(2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy([1, 0]), "must hold 3 values of 0 or 1"),
        (npy([1, 0, 5]), "must hold 3 values of 0 or 1"),
        (b"junk", r"s0\.npy is no numpy file"),
        (npy([{}, {}, {}]), r"s0\.npy is no numpy file: Object arrays cannot be loaded"),
    ],
)
def test_a_broken_array_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Protects from labels of another shape, and from pickles inside of arrays."""
    folder = write_shards(tmp_path, [[PNG, ("s0.npy", content)]])
    (folder / "dataset_type.txt").write_text("multilabel", encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        WebDataset(folder).labels(3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b" \n", r"s0\.txt has no caption"), (b"\xff", r"s0\.txt is no UTF-8")],
)
def test_a_broken_caption_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """Protects from images that no text can find."""
    data = WebDataset(write_shards(tmp_path, [[PNG, ("s0.txt", content)]]))
    with pytest.raises(EvaluationError, match=message):
        data.captions("en")
    with pytest.raises(
        EvaluationError, match=r"no captions in 'de'; they are in \.de\.txt .* --own-language"
    ):
        data.captions("de")


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    """Protects the layout: every missing or unreadable file is a sentence with its name."""
    with pytest.raises(
        EvaluationError, match=r"is no data set: it must have test/nshards\.txt, captions\.jsonl"
    ):
        open_retrieval(tmp_path)
    folder = write_shards(tmp_path, [[PNG, ("s0.cls", b"0")]])
    with pytest.raises(EvaluationError, match=r"val/nshards\.txt is missing; the splits of .* are: test"):
        WebDataset(folder, "val")
    with pytest.raises(EvaluationError, match=r"no names of the classes in 'jp'; classnames\.ja\.txt or"):
        WebDataset(folder).classes("jp")
    (folder / "classnames.txt").write_text("dog\n\ncat\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"classnames\.txt: line 2 is blank"):
        WebDataset(folder).classes("en")
    (folder / "zeroshot_classification_templates.txt").write_text("{c}\na photo\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"templates\.txt, line 2: 'a photo' has no \{c\}"):
        WebDataset(folder).templates("en")
    (folder / "test" / "0.tar").write_bytes((folder / "test" / "0.tar").read_bytes()[:700])
    with pytest.raises(EvaluationError, match=r"0\.tar is no sound tar file"):
        list(WebDataset(folder).pictures())
    (folder / "test" / "nshards.txt").write_text("2", encoding="utf-8")
    (folder / "test" / "0.tar").unlink()
    with pytest.raises(EvaluationError, match=r"0\.tar is missing; nshards\.txt says 2"):
        list(WebDataset(folder).pictures())
    (folder / "test" / "nshards.txt").write_text("none", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"nshards\.txt must hold the number of shards, at least 1"):
        WebDataset(folder)


def test_a_split_without_samples_is_named(tmp_path: Path) -> None:
    """Protects from figures over nothing."""
    folder = write_shards(tmp_path, [[("README", b"no sample")]])
    with pytest.raises(EvaluationError, match="there is no sample in its shards"):
        list(WebDataset(folder).pictures())


def test_xtd10_as_it_is_published(tmp_path: Path) -> None:
    """Protects XTD10's file names and its code jp; another number of captions is refused."""
    (tmp_path / "images").mkdir()
    for name in ("b.jpg", "a.jpg"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    (tmp_path / "test_image_names.txt").write_text("b.jpg\na.jpg\n", encoding="utf-8")
    (tmp_path / "test_1kcaptions_jp.txt").write_text("犬\n猫\n", encoding="utf-8")
    (tmp_path / "test_1kcaptions_it.txt").write_text("cane\n", encoding="utf-8")
    data = open_retrieval(tmp_path)
    assert isinstance(data, Xtd10)
    assert [picture.data for picture in data.pictures()] == [b"b.jpg", b"a.jpg"]
    assert data.captions("ja") == data.captions("jp") == [["犬"], ["猫"]]
    assert data.languages("zeroshot_retrieval") == ["it", "ja"]
    with pytest.raises(EvaluationError, match=r"kcaptions_it\.txt has 1 captions; .* has 2 images"):
        data.captions("it")
    with pytest.raises(EvaluationError, match=r"kcaptions_ko\.txt is missing; there are captions in: it, ja"):
        data.captions("ko")


def test_crossmodal_3600_as_it_is_published(tmp_path: Path) -> None:
    """Protects Crossmodal-3600's keys, the simpler form, and the first caption alone."""
    (tmp_path / "images").mkdir()
    for name in ("k1.jpg", "two.png"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    published = {
        "image/key": "k1",
        "image/locale": "sw",
        "en": {"caption": ["a dog", "dogs"], "caption/tokenized": ["a dog"]},
        "quz": {"caption": ["allqu"]},
    }
    simple = {"image": "two.png", "en": "a cat", "quz": ["misi"]}
    text = "\n".join(json.dumps(row) for row in (published, simple))
    (tmp_path / "captions.jsonl").write_text(text, encoding="utf-8")
    data = open_retrieval(tmp_path)
    assert [picture.data for picture in data.pictures()] == [b"k1.jpg", b"two.png"]
    assert data.languages("zeroshot_retrieval") == ["en", "quz"]
    assert data.captions("en") == [["a dog", "dogs"], ["a cat"]]
    assert Jsonl(tmp_path, first_only=True).captions("en") == [["a dog"], ["a cat"]]
    with pytest.raises(EvaluationError, match=r"line 1: 'de' must be a caption .* this image has: en, quz"):
        data.captions("de")
    (tmp_path / "images" / "k1.jpg").unlink()
    with pytest.raises(EvaluationError, match=r"k1\.jpg: No such file"):
        list(data.pictures())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1, is no JSON"),
        ("[]", "line 1, must be an object"),
        ("{}", "neither `image/key` nor `image`"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """Protects the person who has to find one bad line among thousands."""
    (tmp_path / "captions.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        open_retrieval(tmp_path)


def test_xtd10_as_it_is_cloned(tmp_path: Path) -> None:
    """Protects the layout of its repository: captions in three folders, COCO's images linked beside them."""
    for part, code, caption in (("XTD10", "it", "cane"), ("MIC", "de", "Hund"), ("STAIR", "jp", "犬")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"test_1kcaptions_{code}.txt").write_text(f"{caption}\n{code}\n", encoding="utf-8")
    (tmp_path / "XTD10" / "test_image_names.txt").write_text("a.jpg\nb.jpg\n", encoding="utf-8")
    coco = tmp_path / "elsewhere" / "train2014"
    coco.mkdir(parents=True)
    (coco / "a.jpg").write_bytes(b"a")
    (tmp_path / "train2014").symlink_to(coco)
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "b.jpg").write_bytes(b"b")
    data = open_retrieval(tmp_path)
    assert [picture.data for picture in data.pictures()] == [b"a", b"b"]
    assert data.languages("zeroshot_retrieval") == ["de", "it", "ja"]
    assert data.captions("ja") == [["犬"], ["jp"]]
    assert data.captions("de") == [["Hund"], ["de"]]
    with pytest.raises(EvaluationError, match="there are captions in: de, it, ja"):
        data.captions("ko")
    (coco / "a.jpg").unlink()
    with pytest.raises(EvaluationError, match=r"images/a\.jpg: No such file"):
        list(data.pictures())
