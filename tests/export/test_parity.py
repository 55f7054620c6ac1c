import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer

from export import golden, parity
from models.checkpoint import Checkpoint
from models.modules import BabelCLIP


@pytest.fixture
def loaded(tmp_path: Path, small_model: BabelCLIP, words: Tokenizer) -> Checkpoint:
    return Checkpoint(tmp_path, small_model, words, {})


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_faithful_program_passes(loaded: Checkpoint, tower: str) -> None:
    """Protects the gate from refusing what is right."""
    inputs = parity.Golden(loaded, tower)
    report = parity.compare(tower, inputs, inputs.embed(getattr(loaded.model, tower)), "float32")
    assert report.passed
    assert report.min_cosine > 0.99999
    assert report.top_agreement == 1.0


@pytest.mark.parametrize("damage", ["weights", "nan", "scale", "one"])
def test_a_program_that_differs_is_refused_by_name(loaded: Checkpoint, damage: str) -> None:
    """Protects users from an archive whose vectors are not the checkpoint's."""
    inputs = parity.Golden(loaded, "text")
    vectors = inputs.reference.copy()
    if damage == "weights":
        vectors = np.roll(vectors, 1, axis=1)
    elif damage == "nan":
        vectors[3] = np.nan
    elif damage == "scale":
        vectors *= 2
    else:
        vectors[3] = vectors[4]
    report = parity.compare("text.pt2", inputs, vectors, "float32")
    assert not report.passed
    with pytest.raises(parity.ParityError, match="Not written"):
        parity.require(report)
    if damage in ("nan", "one"):
        assert report.worst_input == inputs.names[3]


@pytest.mark.slow
def test_a_program_that_reads_its_padding_is_refused(loaded: Checkpoint) -> None:
    """Protects vectors from depending on the batch they came in: the gate must see leaking padding."""
    inputs = parity.Golden(loaded, "text")

    def leaking(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = loaded.model.text(ids, torch.ones_like(mask))
        return vectors

    assert not parity.compare("text", inputs, inputs.embed(leaking), "float32").passed


@pytest.mark.slow
def test_bfloat16_has_its_own_tolerance(loaded: Checkpoint) -> None:
    """Protects the bfloat16 export from the float32 tolerance, and from having none."""
    inputs = parity.Golden(loaded, "vision")
    vectors = inputs.embed(copy.deepcopy(loaded.model.vision).to(torch.bfloat16))
    report = parity.compare("vision", inputs, vectors, "bfloat16")
    assert report.min_cosine >= parity.MIN_COSINE["bfloat16"]
    assert report.min_cosine < 1.0


def test_length_buckets_end_at_the_limit() -> None:
    """Protects the longest texts from having no bucket."""
    assert parity.length_buckets(32) == [4, 8, 12, 16, 24, 32]
    assert parity.length_buckets(77)[-1] == 77


def test_golden_images_cover_the_kinds_that_decoders_treat_differently() -> None:
    """Protects the breadth of the golden set."""
    images = {name: Image.open(io.BytesIO(data)) for name, data in golden.images().items()}
    assert {image.format for image in images.values()} >= {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"}
    assert {image.mode for image in images.values()} >= {"RGB", "RGBA", "L", "P", "CMYK", "1"}
    assert images["exif-6"].getexif()[0x0112] == 6
    assert len(golden.texts()) >= 20


def test_golden_images_are_the_same_every_time() -> None:
    """Protects parity figures from moving between runs."""
    assert golden.images.__wrapped__() == golden.images()
