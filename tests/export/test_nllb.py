"""nllb-clip: the language beside a text, from its files through the archive, and what is refused."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import NllbTokenizer

from export import vocabulary
from export.options import Options
from export.pipeline import export
from handlers.clip_text import TextHandler
from handlers.embedding_pb2 import EmbedRequest
from models.checkpoint import Checkpoint
from models.loaders import nllb, registry
from models.loaders.open_clip import package
from tests.broken import assert_refused_in_one_line, spoil_json
from tests.handlers.worker import Worker, grpc
from tests.systems import worldwide
from training.evaluation.embedding import LoadedModel

SETTINGS = "tokenizer_config.json"
CONFIGS = ("nllb-clip-base", "nllb-clip-large", "nllb-clip-base-siglip", "nllb-clip-large-siglip")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "tiny"
    worldwide.nllb_clip(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def librarys_vectors(loaded: Checkpoint, folder: Path, language: str | None, texts: list[str]) -> np.ndarray:
    """What open_clip makes of texts, by NLLB's own tokenizer, which is set to a language."""
    told: dict[str, Any] = {} if language is None else {"src_lang": language}
    words = NllbTokenizer.from_pretrained(folder, **told)
    ids = words(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    with torch.inference_mode():
        rows = loaded.public_model.encode_text(ids)
    found: np.ndarray = F.normalize(rows, dim=-1).numpy()
    return found


def own_vectors(loaded: Checkpoint, *texts: str) -> np.ndarray:
    return LoadedModel(loaded, "tiny", torch.device("cpu")).embed_texts(list(texts)).numpy()


def test_each_language_is_served_to_the_librarys_vectors(made: Path, tmp_path: Path) -> None:
    """From the model's files through the archive: what a tokenizer's `src_lang` does, a request does."""
    loaded = registry.load(made)
    export(made, tmp_path / "store", Options(forms=("onnx",)))
    folder = tmp_path / "text"
    with zipfile.ZipFile(tmp_path / "store" / "tiny-text.mar") as packed:
        packed.extractall(folder)
    worker = Worker(TextHandler, folder, {"threads": 1, "dtype": "float32"})
    plain = "一只猫坐在窗台上"
    for tag, code in (("", None), ("bn", "ben_Beng"), ("zh-TW", "zho_Hant"), ("kmr_Latn", "kmr_Latn")):
        (reply,) = worker.send(
            grpc(request=EmbedRequest(texts=[plain.encode()], language=tag).SerializeToString())
        )
        served = np.frombuffer(reply.message.vectors, "<f4")
        due = librarys_vectors(loaded, made, code, [plain])[0]
        assert float(served @ due) >= 0.9999, tag
    english, bengali = (librarys_vectors(loaded, made, code, [plain])[0] for code in ("eng_Latn", "ben_Beng"))
    assert float(english @ bengali) < 0.999, "else the comparison says nothing"


def test_the_archive_says_the_languages_and_the_licence(made: Path, tmp_path: Path) -> None:
    """All of NLLB's, by BCP 47 for people and by their tokens for the handler."""
    export(made, tmp_path / "store", Options(dtype="bfloat16", forms=("onnx",)))
    with zipfile.ZipFile(tmp_path / "store" / "tiny-text.mar") as packed:
        meta = json.loads(packed.read("meta.json"))
    assert len(meta["languages"]) == len(meta["text"]["languages"]["tokens"]) == 202
    assert {"bn", "zh-Hant", "sw"} <= set(meta["languages"])
    assert meta["text"]["languages"]["default"] == "eng_Latn"
    assert meta["license"] == "CC-BY-NC-4.0"


def test_a_language_that_is_written_in_a_text_is_text(made: Path) -> None:
    """Only the request says the language, not what a caller's text happens to hold."""
    loaded = registry.load(made)
    ids = loaded.tokenizer.encode("ben_Beng eng_Latn </s> x").ids
    told = loaded.model.config.text.languages
    assert told is not None
    assert [one for one in ids if one in (2, *told.tokens.values())] == [told.tokens["eng_Latn"], 2]


@pytest.mark.parametrize(
    ("settings", "first", "last"),
    [({"src_lang": "ben_Beng"}, "ben_Beng", "</s>"), ({"legacy_behaviour": True}, None, "eng_Latn")],
)
def test_the_tokenizers_settings_are_transformers(
    source: Path, settings: dict[str, object], first: str | None, last: str
) -> None:
    """Another default language, and the older place of its token, as transformers has them; a space each."""
    before = registry.space_of(source)
    spoil_json(SETTINGS, **settings)(source)
    loaded = registry.load(source)
    assert loaded.meta["space"] == registry.space_of(source) != before
    published = Tokenizer.from_file(str(source / "tokenizer.json"))
    ids = loaded.tokenizer.encode("ein hund").ids
    assert first is None or ids[0] == published.token_to_id(first)
    assert ids[-1] == published.token_to_id(last)
    due = librarys_vectors(loaded, source, None, ["ein hund im schnee"])
    np.testing.assert_allclose(own_vectors(loaded, "ein hund im schnee"), due, atol=1e-5)


def test_its_vocabulary_is_not_trimmed(made: Path) -> None:
    """Its tokenizer is no Unigram model, of which alone it is known that nothing changes."""
    with pytest.raises(vocabulary.VocabularyError, match="this one is BPE"):
        vocabulary.trim_checkpoint(registry.load(made), ("en", "bn"))


@pytest.mark.parametrize("name", nllb.TEXT_MODELS)
def test_the_known_text_models_are_those_that_open_clip_names(name: str) -> None:
    """The shapes of the published configs, so that the public weights fit; the decoder is left out."""
    config = nllb.text_config(name)
    assert (config.vocab_size, config.d_model, config.pad_token_id) == (256_206, 1024, 1)
    assert (config.encoder_layers, config.encoder_ffn_dim, config.decoder_layers) in (
        (12, 4096, 0),
        (24, 8192, 0),
    )
    configs = map(package().get_model_config, CONFIGS)
    named = {config["text_cfg"]["hf_model_name"] for config in configs}
    assert f"facebook/{name}" in named


def of_another_kind(folder: Path) -> None:
    path = folder / "tokenizer.json"
    words = json.loads(path.read_text())
    words["added_tokens"] = [token for token in words["added_tokens"] if "_" not in token["content"]]
    path.write_text(json.dumps(words))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_json(SETTINGS, src_lang="tlh_Latn"), "the tokenizer has no token for src_lang 'tlh_Latn'"),
        (lambda folder: (folder / SETTINGS).write_text("["), f"{SETTINGS} is no JSON"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (of_another_kind, "tokenizer.json lacks </s> or the tokens of languages, such as eng_Latn"),
        (lambda folder: (folder / "open_clip_model.safetensors").unlink(), "no weights"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it."""
    spoil(source)
    assert_refused_in_one_line(source, says)
