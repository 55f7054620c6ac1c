"""Hugging Face's dual encoders: loaded strictly, exported, served to the vectors of the library itself."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    RobertaConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from export.__main__ import export
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from tests.handlers.worker import Worker, http
from training import sources
from training.checkpoint import CheckpointError

SIZE, DIM, TOKENS = 32, 16, 20
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WORDS = ("ein", "roter", "Apfel", "赤い", "りんご", "सेब", "a", "red", "apple")
TEXTS = ("ein roter Apfel", "सेब", "a red apple a red apple")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SMALL, "image_size": SIZE, "patch_size": 8, "projection_dim": DIM}
PROTOBUF = "application/x-protobuf"


def clip() -> torch.nn.Module:
    text = {**SMALL, "vocab_size": 24, "max_position_embeddings": TOKENS}
    text |= {"bos_token_id": 22, "eos_token_id": 23, "pad_token_id": 23, "projection_dim": DIM}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM))


def altclip() -> torch.nn.Module:
    text = {**SMALL, "vocab_size": 24, "max_position_embeddings": 100, "pad_token_id": 1, "project_dim": 24}
    return AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM))


def dual_encoder() -> torch.nn.Module:
    text = RobertaConfig(**SMALL, vocab_size=24, max_position_embeddings=TOKENS + 2, pad_token_id=1)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        CLIPVisionConfig(**VISION), text, projection_dim=DIM
    )
    return VisionTextDualEncoderModel(config)


KINDS: dict[str, Callable[[], torch.nn.Module]] = {
    "clip": clip,
    "altclip": altclip,
    "vision-text-dual-encoder": dual_encoder,
}


def tokenizer(kind: str) -> Tokenizer:
    """Words as tokens, between the markers that the text model knows."""
    first, last = (22, 23) if kind == "clip" else (0, 2)
    names = dict(enumerate(("<s>", "<pad>", "</s>", "<unk>", *WORDS)))
    names |= {first: "[first]", last: "[last]"}
    made = Tokenizer(models.WordLevel({word: i for i, word in names.items()}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[first] $A [last]", special_tokens=[("[first]", first), ("[last]", last)]
    )
    return made


def save(folder: Path, kind: str) -> torch.nn.Module:
    """A model of random weights in Hugging Face's own files."""
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:  # Fresh ones are so small that all texts would have one vector.
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
    tokenizer(kind).save(str(folder / "tokenizer.json"))
    facts = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "resample": 3}
    facts |= {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return model


def picture() -> Image.Image:
    """As large as the vision model takes, so that no filter has a say."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@torch.inference_mode()
def reference(model: torch.nn.Module, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """What the library makes of TEXTS, each alone, and of the picture."""
    words = tokenizer(kind)
    rows = []
    for text in TEXTS:
        ids = torch.tensor([words.encode(text).ids])
        found = model.get_text_features(input_ids=ids, attention_mask=torch.ones_like(ids))
        rows.append(found.pooler_output)
    x = torch.from_numpy(np.array(picture())).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    seen = model.get_image_features(pixel_values=x).pooler_output
    normalise = torch.nn.functional.normalize
    return normalise(torch.cat(rows), dim=-1).numpy(), normalise(seen, dim=-1).numpy()


def served(store: Path, name: str, tower: str, tmp_path: Path) -> Worker:
    """A worker of the archive, behind TorchServe's own message code."""
    folder = tmp_path / tower
    with zipfile.ZipFile(store / f"{name}-{tower}.mar") as packed:
        packed.extractall(folder)
    return Worker({"text": TextHandler, "vision": VisionHandler}[tower], folder, {"threads": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_served_to_the_librarys_vectors(kind: str, tmp_path: Path) -> None:
    """From Hugging Face's files through both archives to cosines of 0.9999 with the library's features."""
    source, store = tmp_path / f"tiny-{kind}", tmp_path / "store"
    texts, image = reference(save(source, kind), kind)
    result = export(source, store, version="1.0", dtype="float32", forms=("pt2", "onnx"))
    assert result["space"] == sources.space_of(source)
    calls = [http(text.encode(), "text/plain", Accept=PROTOBUF) for text in TEXTS]
    replies = served(store, f"tiny-{kind}", "text", tmp_path).send(*calls)
    rows = np.stack([np.frombuffer(reply.message.vectors, dtype="<f4") for reply in replies])
    assert (rows * texts).sum(1).min() >= 0.9999
    # Different texts have different vectors, or the cosine would say nothing.
    assert (texts @ texts.T)[np.triu_indices(len(texts), 1)].max() < 0.9999
    call = http(png(picture()), "image/png", Accept=PROTOBUF)
    (reply,) = served(store, f"tiny-{kind}", "vision", tmp_path).send(call)
    assert (np.frombuffer(reply.message.vectors, dtype="<f4") * image).sum() >= 0.9999


@pytest.fixture
def source(tmp_path: Path) -> Path:
    save(tmp_path / "tiny", "vision-text-dual-encoder")
    return tmp_path / "tiny"


def spoil_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def spoil_json(name: str, **values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return spoil


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_weights(lambda s: s.pop("text_projection.weight")), "missing text_projection.weight"),
        (spoil_weights(lambda s: s.update(extra=torch.zeros(1))), "unexpected extra"),
        (
            spoil_weights(lambda s: s.update({"text_projection.weight": torch.zeros(DIM, 5)})),
            "text_projection.weight has the shape [16, 5] where [16, 32] is due",
        ),
        (truncate, "its weights cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
        (spoil_json("config.json", model_type="bert"), "model_type 'bert' is not known"),
        (spoil_json("preprocessor_config.json", resample=2), "resample 2 is not served"),
        (spoil_json("preprocessor_config.json", size={"height": 32, "width": 32}), "shortest side of 32"),
        (spoil_json("preprocessor_config.json", image_std=[1, 1]), "three numbers each"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it; nothing is guessed or left at random."""
    spoil(source)
    with pytest.raises(CheckpointError) as caught:
        sources.load(source)
    assert says in str(caught.value)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_as_a_pickle_of_tensors_are_read_and_others_are_not(source: Path, tmp_path: Path) -> None:
    """pytorch_model.bin is loaded without running what a pickle may hold."""
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(state, source / "pytorch_model.bin")
    assert sources.load(source).meta["dim"] == DIM
    torch.save({**state, "trap": Path("x")}, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        sources.load(source)
