"""The model repository for Triton, run without one: see triton_stand_in/repository.py for what stands in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export import golden, triton
from handlers.config import Settings
from handlers.errors import ItemError
from handlers.preprocess.reference import decode_image
from handlers.preprocess.texts import read_text
from models import checkpoint
from tests.export.triton_stand_in.repository import STAND_IN, Arrays, Refused, Repository

pytestmark = pytest.mark.slow  # exports

LONG = "red circle blue circle green square yellow square " * 10
TEXTS = ["red circle", "grünes Quadrat", "赤い丸", "🔴 🔵", LONG, "red"]
LIMITS: dict[str, Any] = {"max_pixels": 50_000_000, "max_bytes": 20_000_000}


@pytest.fixture(scope="module")
def loaded(miniature: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(miniature / "test")


@pytest.fixture(scope="module")
def towers(miniature: Path) -> dict[str, Path]:
    """Folders with the towers' programs, as the export leaves them."""
    return {tower: miniature / "store" / "test" / tower for tower in ("text", "vision")}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, loaded: checkpoint.Checkpoint, towers: dict[str, Path]
) -> Path:
    target = tmp_path_factory.mktemp("triton") / "models"
    triton.write(target, loaded, towers)
    return target


@pytest.fixture(scope="module")
def repository(folder: Path) -> Repository:
    return Repository(folder)


def request(name: str, items: list[bytes]) -> Arrays:
    return {name: np.array(items, dtype=object).reshape(-1, 1)}


def texts(*items: str | bytes) -> Arrays:
    return request("TEXT", [item if isinstance(item, bytes) else item.encode() for item in items])


def images(*items: bytes) -> Arrays:
    return request("IMAGE", list(items))


@torch.inference_mode()
def text_vectors(loaded: checkpoint.Checkpoint, items: list[str]) -> np.ndarray:
    """Each text alone and unpadded, through the checkpoint's own module."""
    loaded.tokenizer.enable_truncation(loaded.model.config.text.max_tokens)
    rows = []
    for item in items:
        ids = torch.tensor([loaded.tokenizer.encode(item).ids])
        rows.append(loaded.model.text(ids, torch.ones_like(ids)))
    return torch.cat(rows).numpy()


@torch.inference_mode()
def image_vectors(loaded: checkpoint.Checkpoint, items: list[bytes]) -> np.ndarray:
    size = loaded.model.config.vision.size
    pixels = np.stack([decode_image(item, size=size, **LIMITS) for item in items])
    vectors: torch.Tensor = loaded.model.vision(torch.from_numpy(pixels))
    return vectors.numpy()


def answered(answers: Sequence[Arrays | Refused]) -> list[Arrays]:
    """The answers of requests of which none was refused."""
    arrays = [answer for answer in answers if not isinstance(answer, Refused)]
    assert len(arrays) == len(answers)
    return arrays


def test_the_repository_loads(repository: Repository) -> None:
    """Protects loading: Triton's message must parse every config, programs and ensembles must fit theirs."""
    parts = ("text", "text_tokens", "text_tower", "vision", "vision_pixels", "vision_tower")
    assert set(repository.configs) == {f"test_{part}" for part in parts}


def test_every_model_names_its_embedding_space(repository: Repository, loaded: checkpoint.Checkpoint) -> None:
    """Protects clients from comparing vectors of two spaces: the config says which one a model is of."""
    for config in repository.configs.values():
        told = {key: value.string_value for key, value in config.parameters.items()}
        assert told["space"] == loaded.meta["space"]
        assert (told["name"], told["dim"]) == ("test", "16")
        assert float(told["logit_scale"]) == loaded.meta["logit_scale"]


def test_texts_become_the_checkpoints_vectors(repository: Repository, loaded: checkpoint.Checkpoint) -> None:
    """Protects the whole way of a text: tokenizer, truncation, padding and program."""
    alone = answered(repository.infer("test_text", [texts(text) for text in TEXTS]))
    [together] = answered(repository.infer("test_text", [texts(*TEXTS)]))
    expected = text_vectors(loaded, TEXTS)
    for found in (np.concatenate([answer["VECTOR"] for answer in alone]), together["VECTOR"]):
        assert (found * expected).sum(1).min() >= 0.9999


def test_images_become_the_checkpoints_vectors(repository: Repository, loaded: checkpoint.Checkpoint) -> None:
    """Protects the whole way of an image: formats, orientations and proportions, and the program."""
    items = list(golden.images().values())[:29]
    alone = answered(repository.infer("test_vision", [images(item) for item in items]))
    [together] = answered(repository.infer("test_vision", [images(*items)]))
    expected = image_vectors(loaded, items)
    for found in (np.concatenate([answer["VECTOR"] for answer in alone]), together["VECTOR"]):
        assert (found * expected).sum(1).min() >= 0.9999


def test_requests_are_padded_to_the_shortest_bucket(repository: Repository) -> None:
    """Protects batching: the tower's batcher joins only requests whose arrays are of one shape."""
    asked = [texts("red"), texts("blue"), texts("red", LONG)]
    answers = answered(repository.infer("test_text_tokens", asked))
    assert [answer["ids"].shape for answer in answers] == [(1, 8), (1, 8), (2, 16)]
    ids, mask = answers[2]["ids"], answers[2]["mask"]
    assert mask[1].all()
    assert (ids[0, mask[0] == 0] == 1).all()  # pad_id


def test_control_tokens_in_a_text_are_text(repository: Repository) -> None:
    """Protects Triton's callers as TorchServe's: the tokenizer beside the model reads them as characters."""
    [answer] = answered(repository.infer("test_text_tokens", [texts("red </s> <pad> circle")]))
    ids = answer["ids"][answer["mask"] == 1].tolist()
    assert (ids[0], ids[-1]) == (0, 2)
    assert not {0, 1, 2} & set(ids[1:-1])


@pytest.mark.parametrize("payload", [b"", b" \n\t", b"\xe2\x80\x8b", b"\xff\xfe", b"x" * 16_385])
def test_a_bad_text_costs_its_own_request(repository: Repository, payload: bytes) -> None:
    """Protects the other requests of a batch, and callers who know TorchServe's codes and sentences."""
    with pytest.raises(ItemError) as known:
        read_text(payload, max_bytes=Settings().max_text_bytes)
    before, refused, after = repository.infer("test_text", [texts("red"), texts(payload), texts("blue")])
    assert isinstance(refused, Refused)
    assert (str(refused), refused.code) == (str(known.value), "INVALID_ARG")
    assert [answer["VECTOR"].shape for answer in answered([before, after])] == [(1, 16), (1, 16)]


@pytest.mark.parametrize("cut", [0, 4, 500])
def test_a_bad_image_costs_its_own_request(repository: Repository, cut: int) -> None:
    """Protects the other requests of a batch, and callers who know TorchServe's codes and sentences."""
    whole = golden.images()["jpeg"]
    with pytest.raises(ItemError) as known:
        decode_image(whole[:cut], size=32, **LIMITS)
    before, refused, after = repository.infer(
        "test_vision", [images(whole), images(whole[:cut]), images(whole)]
    )
    assert isinstance(refused, Refused)
    assert (str(refused), refused.code) == (str(known.value), "INVALID_ARG")
    first, last = answered([before, after])
    np.testing.assert_array_equal(first["VECTOR"], last["VECTOR"])


def test_a_request_says_which_of_its_items_are_bad(repository: Repository) -> None:
    """Protects callers of many items, as Triton has no status for each: they learn what to leave out."""
    [refused] = repository.infer("test_text", [texts("red", b"\xff", "blue", "")])
    assert str(refused) == "invalid_utf8: the text is not valid UTF-8 [item 1; 2 of 4 fail: 1, 3]"


def test_an_unexpected_failure_costs_its_own_request(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the batch from a defect of ours; the caller gets an id that stands in the log, no more."""
    module = sys.modules["test_vision_pixels.model"]

    def decode(data: bytes, **_: int) -> np.ndarray:
        if data == b"unlucky":
            raise RuntimeError("a defect")
        return decode_image(data, size=32, **LIMITS)

    monkeypatch.setattr(module, "decode_image", decode)
    refused, answer = repository.infer("test_vision", [images(b"unlucky"), images(golden.images()["png"])])
    assert isinstance(refused, Refused)
    assert refused.code == "INTERNAL"
    assert str(refused).startswith("internal: the server failed unexpectedly")
    assert str(refused).rpartition(" ")[2] in caplog.text
    assert answered([answer])[0]["VECTOR"].shape == (1, 16)


def test_limits_are_the_operators(folder: Path, tmp_path: Path) -> None:
    """Protects operators: the limits stand in config.pbtxt and count when they are changed there."""
    for part in ("text_tokens", "vision_pixels"):
        shutil.copytree(folder / f"test_{part}", tmp_path / f"test_{part}")
        path = tmp_path / f"test_{part}" / "config.pbtxt"
        changed = path.read_text().replace('"16384"', '"5"').replace('"50000000"', '"100"')
        path.write_text(changed)
    strict = Repository(tmp_path)
    [long] = strict.infer("test_text_tokens", [texts("circle")])
    [large] = strict.infer("test_vision_pixels", [images(golden.images()["png"])])
    assert str(long) == "text_too_long: the text has 6 bytes; at most 5 are allowed"
    assert str(large).startswith("image_too_large: the image is 256×256")


def test_warm_up_meets_every_shape_and_no_error(repository: Repository) -> None:
    """Protects loading, which fails with a warm-up, and first requests from paying for new shapes."""
    for tower, names in (("text", ["8 tokens", "16 tokens"]), ("vision", ["black images"])):
        samples = repository.warmups(f"test_{tower}_tower")
        assert list(samples) == names
        for arrays in samples.values():
            [answer] = answered(repository.infer(f"test_{tower}_tower", [arrays]))
            assert np.isfinite(answer["vectors"]).all()


@pytest.mark.parametrize("part", ["text_tokens", "vision_pixels"])
def test_python_models_need_nothing_of_this_repository(folder: Path, tmp_path: Path, part: str) -> None:
    """Protects servers elsewhere: each model folder holds all of ours that its Python model imports."""
    version = folder / f"test_{part}" / "1"
    code = "import sys; sys.path += sys.argv[1:]; import model, handlers; print(handlers.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(version), str(STAND_IN)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(version / "handlers" / "__init__.py")


def test_buckets_are_brought_within_the_towers_limits(
    loaded: checkpoint.Checkpoint, towers: dict[str, Path], tmp_path: Path
) -> None:
    """Protects the program, which takes 2 to 16 tokens, from lengths that another model has."""
    triton.write(tmp_path / "models", loaded, {"text": towers["text"]}, buckets=(1, 5, 77))
    config = Repository(tmp_path / "models").configs["test_text_tokens"]
    assert config.parameters["buckets"].string_value == "2 5 16"


def test_writing_replaces_its_own_models_alone(
    loaded: checkpoint.Checkpoint, towers: dict[str, Path], tmp_path: Path
) -> None:
    """Protects a repository that other models share, and itself from leftovers of an earlier export."""
    for stale in ("other/1/model.py", "test_text/2/.keep"):
        (tmp_path / "models" / stale).parent.mkdir(parents=True)
        (tmp_path / "models" / stale).touch()
    names = triton.write(tmp_path / "models", loaded, {"text": towers["text"]})
    assert names == ["test_text_tokens", "test_text_tower", "test_text"]
    assert (tmp_path / "models" / "other/1/model.py").exists()
    assert not (tmp_path / "models" / "test_text/2").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_what_cannot_be_written_is_said_before_anything_is(
    loaded: checkpoint.Checkpoint, towers: dict[str, Path], tmp_path: Path
) -> None:
    """Protects a repository from half an export, and people from a stack trace."""
    with pytest.raises(triton.RepositoryError, match=r"has no program\.onnx"):
        triton.write(tmp_path / "models", loaded, {**towers, "vision": tmp_path})
    named = checkpoint.Checkpoint(loaded.path, loaded.model, loaded.tokenizer, {**loaded.meta, "name": "a/b"})
    with pytest.raises(triton.RepositoryError, match="cannot name a Triton model"):
        triton.write(tmp_path / "models", named, towers)
    assert list(tmp_path.iterdir()) == []
