"""Folders as the versions of transformers write them: each loads to the same towers and the same pixels."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AltCLIPProcessor,
    AutoModel,
    BertConfig,
    CLIPImageProcessorPil,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessorPil,
)

from benchmarks.support.vocabularies import ROBERTA_MARKERS, tokenizer
from models import assemble
from models.checkpoint import Checkpoint, CheckpointError
from models.loaders import registry
from tests.broken import assert_refused_in_one_line
from tests.systems import families
from training.evaluation.embedding import LoadedModel, Picture

pytestmark = pytest.mark.slow  # builds many models

FAMILIES: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "clip": (families.clip, CLIPProcessor, CLIPImageProcessorPil),
    "altclip": (families.altclip, AltCLIPProcessor, CLIPImageProcessorPil),
    "dual-encoder": (families.dual_encoder, VisionTextDualEncoderProcessor, CLIPImageProcessorPil),
    "siglip": (families.siglip, SiglipProcessor, SiglipImageProcessorPil),
}
OLDER, NEWER = "preprocessor_config.json", "processor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TEXTS = families.TEXTS[:4]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("made") / name for name in FAMILIES}
    for name, folder in folders.items():
        FAMILIES[name][0](folder, true=False)
    return folders


@pytest.fixture(scope="module")
def before(made: dict[str, Path]) -> dict[str, Checkpoint]:
    """Each family as it is loaded before its folder is changed."""
    return {name: registry.load(folder) for name, folder in made.items()}


@pytest.fixture(params=FAMILIES)
def source(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of each family's folder, to be written anew in another version's way."""
    return Path(shutil.copytree(made[request.param], tmp_path / request.param))


def vectors(loaded: Checkpoint) -> np.ndarray:
    """Of texts and of pixels, by the loaded towers."""
    pixels = torch.randint(256, (2, 32, 32, 3), generator=torch.manual_seed(0), dtype=torch.uint8)
    texts = LoadedModel(loaded, "tiny", torch.device("cpu")).embed_texts(TEXTS)
    with torch.inference_mode():
        return torch.cat([texts, loaded.model.vision(pixels)]).numpy()


def test_what_transformers_5_saves_is_read(source: Path, before: dict[str, Checkpoint]) -> None:
    """A processor's save_pretrained leaves processor_config.json alone, with the image processor inside."""
    processor = FAMILIES[source.name][1]
    images = FAMILIES[source.name][2].from_pretrained(source)
    words = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"), pad_token="<pad>")
    (source / OLDER).unlink()
    processor(image_processor=images, tokenizer=words).save_pretrained(source)
    assert not (source / OLDER).exists()
    loaded = registry.load(source)
    np.testing.assert_array_equal(vectors(loaded), vectors(before[source.name]))
    assert loaded.meta["space"] == registry.space_of(source)


def test_where_both_files_have_settings_the_newer_one_wins(
    source: Path, before: dict[str, Checkpoint]
) -> None:
    """A folder that transformers 5 has saved over an older one's has both; it reads its own, and so do we."""
    settings, space = json.loads((source / OLDER).read_text()), before[source.name].meta["space"]
    (source / NEWER).write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert registry.space_of(source) == space
    changed = {**settings, "image_mean": [0.1, 0.2, 0.3]}
    (source / NEWER).write_text(json.dumps({"image_processor": changed}))
    loaded = registry.load(source)
    assert loaded.model.config.vision.mean == (0.1, 0.2, 0.3)
    assert loaded.meta["space"] != space
    (source / NEWER).write_text(json.dumps({"image_processor": 3}))
    assert_refused_in_one_line(source, "image_processor must have names and values")


def feature_extractor(settings: dict[str, Any]) -> dict[str, Any]:
    """As versions before 4.25 wrote them: plain numbers, and none of the later flags."""
    later = ("do_rescale", "rescale_factor", "do_convert_rgb", "image_processor_type", "crop_size")
    old = {key: value for key, value in settings.items() if key not in later}
    kind = settings["image_processor_type"].replace("ImageProcessor", "FeatureExtractor")
    sides = {"size": 32, "crop_size": 32} if "crop_size" in settings else {}  # SigLIP came later
    return {**old, **sides, "feature_extractor_type": kind}


def both_names(settings: dict[str, Any]) -> dict[str, Any]:
    """As versions from 4.25 on wrote what had been read as a feature extractor."""
    kind = settings["image_processor_type"].replace("ImageProcessor", "FeatureExtractor")
    return {**settings, "feature_extractor_type": kind, "image_processor_type": kind}


def fast(settings: dict[str, Any]) -> dict[str, Any]:
    """As version 4's fast image processors wrote them."""
    empty = dict.fromkeys(("device", "input_data_format", "return_tensors", "disable_grouping", "pad_size"))
    kind = f"{settings['image_processor_type']}Fast"
    return {**settings, **empty, "image_processor_type": kind, "data_format": "channels_first"}


@pytest.mark.parametrize("rewrite", [feature_extractor, both_names, fast])
def test_what_older_versions_saved_is_read(
    source: Path, before: dict[str, Checkpoint], rewrite: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Feature extractors with plain numbers for sizes, and classes of later names, give the same pixels."""
    path = source / OLDER
    path.write_text(json.dumps(rewrite(json.loads(path.read_text()))))
    assert registry.load(source).model.config == before[source.name].model.config


def test_settings_without_a_class_are_those_of_clip(
    made: dict[str, Path], before: dict[str, Checkpoint], tmp_path: Path
) -> None:
    """The first CLIPs on the hub do not say whose settings they are; what is left out is CLIP's own."""
    folder = Path(shutil.copytree(made["clip"], tmp_path / "clip"))
    (folder / OLDER).write_text(json.dumps({"size": 32, "crop_size": 32}))
    assert registry.load(folder).model.config == before["clip"].model.config


def split(folder: Path, *, pickled: bool) -> list[str]:
    """The weights in two parts and their list, as save_pretrained makes of large models."""
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = [f"{stem}-0000{part}-of-00002.{suffix}" for part in (1, 2)]
    parts: list[dict[str, torch.Tensor]] = [{}, {}]
    for number, key in enumerate(state):
        parts[number % 2][key] = state[key]
    for name, part in zip(names, parts, strict=True):
        if pickled:
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, metadata={"format": "pt"})
    listed = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    described = {"metadata": {"total_size": 1}, "weight_map": listed}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(described))
    return names


@pytest.mark.parametrize("pickled", [False, True])
def test_weights_in_parts_are_read_and_a_missing_part_is_named(
    source: Path, before: dict[str, Checkpoint], pickled: bool
) -> None:
    """Parts as safetensors and as pickles give the same vectors; one that was not copied is told."""
    names = split(source, pickled=pickled)
    np.testing.assert_array_equal(vectors(registry.load(source)), vectors(before[source.name]))
    (source / names[1]).unlink()
    assert_refused_in_one_line(source, f"{names[1]} is missing")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_weights_of_every_age_and_of_a_wrapped_model_are_read(
    source: Path, before: dict[str, Checkpoint], legacy: bool
) -> None:
    """pytorch_model.bin: not zipped before torch 1.6, and named by DDP where its wrapper was saved."""
    state = {f"module.{key}": value for key, value in load_file(source / WEIGHTS).items()}
    (source / WEIGHTS).unlink()
    torch.save(state, source / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    np.testing.assert_array_equal(vectors(registry.load(source)), vectors(before[source.name]))


def test_what_else_lies_in_a_repository_is_left_alone(source: Path, before: dict[str, Checkpoint]) -> None:
    """Weights of other libraries and a trainer's files beside the model's are not taken for its own."""
    for name in ("open_clip_model.safetensors", "adapter_model.safetensors", "model.fp16.safetensors"):
        (source / name).write_bytes(b"of something else")
    for name in ("training_args.bin", "optimizer.bin", "pytorch_model.bin", "flax_model.msgpack"):
        (source / name).write_bytes(b"of something else")
    loaded = registry.load(source)
    assert loaded.meta["space"] == before[source.name].meta["space"]
    np.testing.assert_array_equal(vectors(loaded), vectors(before[source.name]))
    state = load_file(source / WEIGHTS)
    (source / WEIGHTS).unlink()
    torch.save(state, source / "pytorch_model.bin")
    np.testing.assert_array_equal(vectors(registry.load(source)), vectors(before[source.name]))
    (source / "pytorch_model.bin").unlink()
    assert_refused_in_one_line(source, "flax_model.msgpack is not read, save it with PyTorch")


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_clone_without_lfs_is_told_what_to_do(source: Path, name: str) -> None:
    """git without LFS leaves notes of 130 bytes in place of the large files."""
    note = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
    (source / name).write_text(note)
    assert_refused_in_one_line(source, f"{name} was cloned without its content: run `git lfs pull`")


def older_words(folder: Path) -> dict[str, int]:
    """Replace tokenizer.json by vocab.json and merges.txt, as the first CLIPs had them; returns the words."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    words = {piece: number for number, piece in enumerate([*pieces, "re", "red</w>"])}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    (folder / "tokenizer.json").unlink()
    return words


def test_tokenizers_in_older_files_are_read(made: dict[str, Path], tmp_path: Path) -> None:
    """vocab.json and merges.txt serve where there is no tokenizer.json, and are part of the space."""
    folder = Path(shutil.copytree(made["clip"], tmp_path / "clip"))
    words = older_words(folder)
    loaded = registry.load(folder)
    pieces = ["<|startoftext|>", "a</w>", "red</w>", "<|endoftext|>"]
    assert loaded.tokenizer.encode("A red").ids == [words[piece] for piece in pieces]
    assert loaded.meta["space"] == registry.space_of(folder)
    (folder / "merges.txt").write_text("#version: 0.2\nr e\n")
    assert registry.space_of(folder) != loaded.meta["space"]


def test_a_trained_model_keeps_its_older_files(made: dict[str, Path], tmp_path: Path) -> None:
    """What is saved after training loads again, whatever version's files it began with."""
    folder = Path(shutil.copytree(made["clip"], tmp_path / "clip"))
    older_words(folder)
    settings = json.loads((folder / OLDER).read_text())
    (folder / OLDER).unlink()
    (folder / NEWER).write_text(json.dumps({"image_processor": settings}))
    loaded = registry.load(folder)
    registry.save(loaded, tmp_path / "trained", scale=50.0, about={})
    again = registry.load(tmp_path / "trained")
    np.testing.assert_array_equal(vectors(again), vectors(loaded))


def test_a_sentencepiece_model_alone_is_told_what_to_do(made: dict[str, Path], tmp_path: Path) -> None:
    """A tokenizer that takes another package to read is a sentence that names it."""
    folder = Path(shutil.copytree(made["altclip"], tmp_path / "altclip"))
    (folder / "tokenizer.json").unlink()
    (folder / "sentencepiece.bpe.model").write_bytes(b"no model")
    assert_refused_in_one_line(folder, "with the package sentencepiece")


@torch.inference_mode()
def test_a_dual_encoder_of_vit_and_bert_is_the_librarys(tmp_path: Path) -> None:
    """ViT squashes its images by the bilinear filter, and BERT's places are all a text's."""
    size: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**size, image_size=32, patch_size=8),
        BertConfig(**size, vocab_size=42_000, max_position_embeddings=64),
        projection_dim=16,
    )
    model: Any = families.randomise(VisionTextDualEncoderModel(config))
    model.save_pretrained(tmp_path)
    tokenizer(42_000, *ROBERTA_MARKERS).save(str(tmp_path / "tokenizer.json"))
    images = ViTImageProcessorPil(size={"height": 32, "width": 32})
    images.save_pretrained(tmp_path)
    loaded = registry.load(tmp_path)
    assert loaded.model.config.text.max_tokens == 64
    assert loaded.model.config.vision.resize == "squash-bilinear"
    found = LoadedModel(loaded, "tiny", torch.device("cpu"))
    photographs = families.pictures()[:2]
    opened: list[Image.Image] = [Image.open(io.BytesIO(data)) for data in photographs]
    pixels = torch.from_numpy(np.stack(images(opened)["pixel_values"]))
    due = [model.get_image_features(pixel_values=pixels).pooler_output]
    for text in TEXTS:
        ids = torch.tensor([loaded.tokenizer.encode(text).ids])
        due.append(model.get_text_features(input_ids=ids).pooler_output)
    rows = [found.embed_images([Picture("one", data) for data in photographs]), found.embed_texts(TEXTS)]
    assert torch.nn.functional.cosine_similarity(torch.cat(due), torch.cat(rows)).min() > 0.9999


def test_models_are_put_together_from_newer_files(made: dict[str, Path], tmp_path: Path) -> None:
    """models.assemble takes the image processor of a CLIP that transformers 5 saved."""
    vision, text = tmp_path / "vision", tmp_path / "text"
    shutil.copytree(made["clip"], vision)
    settings = json.loads((vision / OLDER).read_text())
    (vision / OLDER).unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json is missing"):
        assemble.assemble("dual-encoder", vision, vision, 16, tmp_path / "made")
    (vision / NEWER).write_text(json.dumps({"image_processor": settings}))
    AutoModel.from_pretrained(made["dual-encoder"]).text_model.save_pretrained(text)
    shutil.copy(made["dual-encoder"] / "tokenizer.json", text)
    assemble.assemble("dual-encoder", vision, text, 16, tmp_path / "made")
    assert json.loads((tmp_path / "made" / OLDER).read_text()) == settings
    assert registry.load(tmp_path / "made").meta["dim"] == 16
