"""open_clip's models with a Hugging Face text model, such as LAION's XLM-R ViT-B/32 and ViT-H/14.

A folder holds open_clip_config.json, tokenizer.json and the weights: open_clip_model.safetensors,
open_clip_pytorch_model.bin or a training checkpoint epoch_N.pt. A single file of weights is taken too, with
the other two beside it, or with the architecture by open_clip's name in place of the config. The towers are
open_clip's own modules. Nothing is fetched: the text model's configuration is known here, or lies in a folder
of its name beside the weights.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import XLMRobertaConfig

from models import outputs
from models.checkpoint import Checkpoint
from models.dual_encoder import DualEncoder, Inputs, Pooling, TextInput, TextTower, VisionInput, VisionTower
from models.files import tokenizers
from models.files.weights import (
    CheckpointError,
    archive_name,
    fingerprint,
    first_line,
    load_strict,
    read_json,
    read_state,
    to_rgb,
)

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "*.safetensors", "*.pt")
# A buffer that older versions of transformers stored.
LEGACY = (r"text\.transformer\.embeddings\.position_ids",)

# What the public checkpoints of these names are, by their config.json.
XLM_R = {
    "vocab_size": 250_002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "xlm-roberta-base": XLM_R,
    "xlm-roberta-large": XLM_R
    | {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
POOLERS: dict[str, Pooling] = {
    "mean_pooler": "mean",
    "cls_last_hidden_state_pooler": "first",
    "cls_pooler": "model",
}


def is_openclip(source: Path) -> bool:
    """Whether it is a file of weights, or a folder with open_clip's config."""
    return source.is_file() or (source / CONFIG).exists()


def takes(folder: Path) -> bool:
    """Whether the folder has open_clip's config, with a text model that is taken."""
    if not (folder / CONFIG).exists():
        return False
    return isinstance(read_config(folder)[1]["text_cfg"].get("hf_model_name"), str)


def is_complete(folder: Path) -> bool:
    """Whether the folder has all files of a model that is taken, the weights by open_clip's own names."""
    try:
        tokenizers.files_of(folder)
        return takes(folder) and any((folder / name).exists() for name in WEIGHTS[:2])
    except CheckpointError:
        return False


def space_of(source: Path, architecture: str | None = None) -> str:
    """The fingerprint of config, tokenizer, what is done to texts before it, and weights.

    Raises:
        CheckpointError: a file is missing.
    """
    folder = source.parent if source.is_file() else source
    settings = [] if architecture else [folder / CONFIG]
    files = [*settings, *tokenizers.files_of(folder), weights_of(source)]
    return fingerprint(files, rule=tokenizers.text_rule(folder))


def package() -> ModuleType:
    """open_clip. Other models do without it, and without the 54 MB that its import takes."""
    import open_clip

    found: ModuleType = open_clip
    return found


def load(source: Path, architecture: str | None = None) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Args:
        source: the folder, or a file of weights.
        architecture: a name of `open_clip.list_models()`, in place of the config file.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    folder = source.parent if source.is_file() else source
    weights = weights_of(source)
    path, config, preprocessing = read_config(folder, architecture)
    pixels = vision_input(path, config["vision_cfg"], preprocessing)
    with _with_local_text_model(folder, path, config) as local:
        model = build(path, package().CustomTextCLIP, local)
    load_strict(model, read_state(weights), weights, allowed=LEGACY)
    text, visual = model.text, model.visual
    pooler = local["text_cfg"].get("hf_pooler_type", "mean_pooler")
    if pooler not in POOLERS:
        raise CheckpointError(f"{path}: the pooler {pooler!r} is not known; known: {', '.join(POOLERS)}")
    pad_id = int(text.config.pad_token_id)
    limit = int(config["text_cfg"].get("context_length", package().tokenizer.DEFAULT_CONTEXT_LENGTH))
    places = int(text.config.max_position_embeddings) - pad_id - 1  # XLM-R counts from there
    inputs = Inputs(
        TextInput(max_tokens=min(limit, places), pad_id=pad_id),
        pixels,
    )
    tokenizer = tokenizers.read(folder, int(text.config.vocab_size))
    meta = {
        "name": archive_name(folder),
        "space": space_of(source, architecture),
        "dim": int(config["embed_dim"]),
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": [],
        "source": f"open_clip {architecture or config['text_cfg']['hf_model_name']}",
    }
    towers = DualEncoder(
        TextTower(text.transformer, POOLERS[pooler], text.proj),
        VisionTower(visual, nn.Identity(), inputs.vision),
        inputs,
        model.logit_scale,
        getattr(model, "logit_bias", None),
    )
    return Checkpoint(folder, towers.eval(), tokenizer, meta, public_model=model, write=save)


def save(loaded: Checkpoint, folder: Path, about: dict[str, Any]) -> None:
    """Write the model, as it is now, as a folder that `load` takes, and `about` as its training.json.

    Raises:
        CheckpointError: it was loaded from a file without a config, of which there is nothing to copy.
    """
    model, before = loaded.public_model, loaded.path
    _, config, _ = read_config(before)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    text_model = Path(str(config["text_cfg"].get("hf_model_name"))).name
    with outputs.replacing(folder) as partial:
        partial.mkdir(parents=True)
        save_file(state, partial / WEIGHTS[0])
        for path in [before / CONFIG, *tokenizers.files_of(before)]:
            shutil.copyfile(path, partial / path.name)
        if (before / text_model / "config.json").exists():
            (partial / text_model).mkdir()
            shutil.copyfile(before / text_model / "config.json", partial / text_model / "config.json")
        outputs.write_json(partial / "training.json", about)


def weights_of(source: Path) -> Path:
    """The file of weights: the source itself, or the one in its folder.

    Raises:
        CheckpointError: there is none, or more than one.
    """
    if source.is_file():
        return source
    for pattern in WEIGHTS:
        found = sorted(source.glob(pattern))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise CheckpointError(f"{source}: which weights are meant? {names}; give the file itself")
        if found:
            return found[0]
    raise CheckpointError(f"{source}: no weights, none of {', '.join(WEIGHTS)}")


def read_config(folder: Path, architecture: str | None = None) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Where the config stands, the model's part of it, and the preprocessing's.

    Raises:
        CheckpointError: the config is missing or incomplete, or open_clip does not know the architecture.
    """
    if architecture is not None:
        known = package().get_model_config(architecture)
        if known is None:
            raise CheckpointError(
                f"open_clip has no architecture {architecture!r}; see open_clip.list_models()"
            )
        return Path(architecture), known, {}
    path = folder / CONFIG
    if not path.exists():
        raise CheckpointError(f"{folder}: {CONFIG} is missing; or name the architecture with --architecture")
    raw = read_json(path)
    config, preprocessing = raw.get("model_cfg"), raw.get("preprocess_cfg", {})
    if not isinstance(config, dict) or not isinstance(preprocessing, dict):
        raise CheckpointError(f"{path} must have a model_cfg and a preprocess_cfg of names and values")
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(config.get(part), dict):
            raise CheckpointError(f"{path}: model_cfg has no {part}")
    return path, config, preprocessing


@contextmanager
def _with_local_text_model(folder: Path, path: Path, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The model config with its text model as a local folder, which open_clip reads instead of the hub."""
    text = dict(config["text_cfg"])
    name = text.get("hf_model_name")
    if not isinstance(name, str):
        raise CheckpointError(
            f"{path}: its text model is open_clip's own; only Hugging Face's (hf_model_name) are taken"
        )
    for old in ("pooler_type", "proj"):  # as configs of 2022 name them
        if old in text:
            text[{"pooler_type": "hf_pooler_type", "proj": "hf_proj_type"}[old]] = text.pop(old)
    beside, short = folder / Path(name).name, Path(name).name
    with tempfile.TemporaryDirectory() as scratch:
        if (beside / "config.json").exists():
            text["hf_model_name"] = str(beside)
        elif short in TEXT_MODELS:
            XLMRobertaConfig(**TEXT_MODELS[short]).save_pretrained(scratch)
            text["hf_model_name"] = scratch
        else:
            raise CheckpointError(
                f"{path}: the text model {name!r} is not known here; put its config.json into {beside}"
            )
        yield {**config, "text_cfg": {**text, "hf_model_pretrained": False}}


def build(path: Path, kind: type[nn.Module], config: dict[str, Any]) -> Any:
    """open_clip's model of a config, a module, with weights that are to be replaced.

    Raises:
        CheckpointError: open_clip cannot build it.
    """
    wanted = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_bias")
    try:
        with torch.random.fork_rng(devices=[]):  # The weights drawn here are the caller's business no more.
            return kind(**{key: config[key] for key in wanted if key in config})
    except Exception as error:  # A wrong config fails in whichever module reads it.
        raise CheckpointError(f"{path}: open_clip cannot build its model: {first_line(error)}") from error


def vision_input(path: Path, vision: dict[str, Any], preprocessing: dict[str, Any]) -> VisionInput:
    """The pixels that open_clip's evaluation transform would make, if they are ours.

    Raises:
        CheckpointError: another filter, another way of resizing, or a size that is no square.
    """
    size = vision.get("image_size", 224)
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    if type(size) is not int:
        raise CheckpointError(f"{path}: image_size {size} is not served; one side of a square is")
    for key, due in (("interpolation", "bicubic"), ("resize_mode", "shortest")):
        if preprocessing.get(key, due) != due:
            raise CheckpointError(f"{path}: {key} {preprocessing[key]!r} is not served; {due!r} is")
    mean = preprocessing.get("mean", list(package().OPENAI_DATASET_MEAN))
    std = preprocessing.get("std", list(package().OPENAI_DATASET_STD))
    found = VisionInput(size=size, mean=to_rgb(path, "mean", mean), std=to_rgb(path, "std", std))
    if min(found.std) <= 0:
        raise CheckpointError(f"{path}: std must be above 0")
    return found
