"""SigLIP's folders: texts as in training, whoever wrote the tokenizer, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers
from transformers import Siglip2Tokenizer

from benchmarks.support.vocabularies import ROBERTA_MARKERS, gemma, tokenizer
from export.archive import tower_meta
from export.options import Options
from models.checkpoint import Checkpoint, CheckpointError
from models.loaders import registry, siglip
from tests.broken import assert_refused_in_one_line, spoil_json
from tests.systems import families
from training.evaluation.embedding import LoadedModel, token_arrays

PIECES = 8_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "tiny"
    families.siglip(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def embed(loaded: Checkpoint, *texts: str) -> np.ndarray:
    return LoadedModel(loaded, "tiny", torch.device("cpu")).embed_texts(list(texts)).numpy()


def test_case_makes_no_difference(made: Path) -> None:
    """SigLIP was trained with lowercased texts, which Gemma's own tokenizer file does not know."""
    upper, lower, other = embed(registry.load(made), "EIN Roter Äpfel", "ein roter äpfel", "ein roter igel")
    np.testing.assert_array_equal(upper, lower)
    assert float(upper @ other) < 0.999


def test_a_tokenizer_that_was_mended_already_is_left_so(source: Path) -> None:
    """transformers' own Siglip2Tokenizer writes a file that lowercases; vectors are the same from both."""
    before = embed(registry.load(source), *families.TEXTS)
    vocabulary, merges = gemma(PIECES)
    words = Siglip2Tokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # pairs are taken as well as the lines that are declared
        add_eos_token=True,
    )
    words.save_pretrained(source)
    np.testing.assert_allclose(embed(registry.load(source), *families.TEXTS), before, atol=1e-6)


@torch.inference_mode()
def test_padding_is_the_towers_affair(made: Path) -> None:
    """A text's vector does not depend on how far its batch was padded, nor on what is under the mask."""
    loaded = registry.load(made)
    ids, mask = token_arrays(loaded.tokenizer, ["ein roter apfel"], max_tokens=64, pad_id=0)
    due = loaded.model.text(ids, mask)
    for wide in (24, 64):
        rest = torch.full((1, wide - ids.shape[1]), 7)
        padded = torch.cat([ids, rest], 1), torch.cat([mask, torch.zeros_like(rest)], 1)
        torch.testing.assert_close(loaded.model.text(*padded), due)


def test_texts_end_and_long_ones_too(made: Path) -> None:
    """The end token closes every text, a cut one included, and nothing stands before the first."""
    words = registry.load(made).tokenizer
    words.enable_truncation(64)
    published = Tokenizer.from_file(str(made / "tokenizer.json"))
    end, start = published.token_to_id("<eos>"), published.token_to_id("<bos>")
    for text in ("apfel", "ein apfel und " * 60):
        ids = words.encode(text).ids
        assert (ids[-1], len(ids) <= 64, start in ids) == (end, True, False)


def test_the_archives_say_what_handlers_need(made: Path) -> None:
    """All texts share passes of one length, and images are squashed by the filter of the config."""
    loaded = registry.load(made)
    self_tests = {"text": {}, "vision": {}, "min_cosine": 0.99}
    text, vision = (
        tower_meta(loaded, tower, Options(), reduction=0.0, self_tests=self_tests)
        for tower in ("text", "vision")
    )
    assert text["text"] == {"max_tokens": 64, "pad_id": 0, "buckets": [64], "unknown_id": None}
    assert vision["vision"]["resize"] == "squash-bilinear"


def test_the_table_of_tokens_can_be_replaced(made: Path) -> None:
    """As trimming does it, where the first SigLIP's sentencepiece tokenizer is: the tower has it inside."""
    encoder: Any = registry.load(made).model.text.encoder
    table = encoder.get_input_embeddings().weight
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(table[:100]))
    assert torch.equal(encoder.get_input_embeddings().weight, table[:100])


def without_markers(folder: Path) -> None:
    words = json.loads((folder / "tokenizer.json").read_text())
    words["model"]["vocab"] = {p.replace("<eos>", "<end>"): i for p, i in words["model"]["vocab"].items()}
    words["added_tokens"] = [token for token in words["added_tokens"] if token["content"] != "<eos>"]
    Tokenizer.from_str(json.dumps(words)).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_json("config.json", model_type="siglip2"), "model_type 'siglip2' is not known"),
        (spoil_json("preprocessor_config.json", resample=1), "resample 1, no crop"),
        (spoil_json("preprocessor_config.json", size={"shortest_edge": 32}), "squashed into 32 × 32"),
        (spoil_json("preprocessor_config.json", image_std=[0.5, 0, 0.5]), "image_std must be above 0"),
        (without_markers, "lacks <eos> or <pad>"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it; NaFlex variants are another architecture."""
    spoil(source)
    assert_refused_in_one_line(source, says)


def test_a_tokenizer_of_the_first_release_must_lowercase(tmp_path: Path) -> None:
    """Of a sentencepiece tokenizer it is not known what else it lacks, so nothing is added to it."""
    path, words = tmp_path / "tokenizer.json", tokenizer(42_000, *ROBERTA_MARKERS)
    words.normalizer = normalizers.NFKC()
    words.save(str(path))
    with pytest.raises(CheckpointError, match="does not lowercase texts"):
        siglip.trained_tokenizer(tmp_path, 42_000)
    words.normalizer = normalizers.Lowercase()
    words.save(str(path))
    found, pad_id = siglip.trained_tokenizer(tmp_path, 42_000)
    assert (found.encode("Apfel").ids[-1], pad_id) == (2, 2)
