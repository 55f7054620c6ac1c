"""open_clip's models: with its own text tower, or a Hugging Face text model (LAION's XLM-R, nllb-clip).

A folder holds open_clip_config.json, the weights (open_clip_model.safetensors, open_clip_pytorch_model.bin or
a training checkpoint epoch_N.pt) and tokenizer.json, unless the tokenizer is open_clip's own. A single file
of weights is taken too, with the others beside it, or with the architecture by open_clip's name in place of
the config. The towers are open_clip's own modules. Nothing is fetched: the configuration of a Hugging Face
text model is known here, or lies in a folder of its name beside the weights.
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
)
from models.loaders import licences, nllb, open_clip_images, open_clip_text

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "*.safetensors", "*.pt")
# Buffers that older versions of transformers stored.
LEGACY = (r"text\.transformer\.embeddings\.position_ids", r"text\.transformer\.embed_positions\.weights")

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
    """Whether the folder has open_clip's config, of a model that is taken.

    Raises:
        CheckpointError: the config is incomplete.
    """
    if not (folder / CONFIG).exists():
        return False
    path, config, _ = read_config(folder)
    if has_own_text(config):
        try:
            open_clip_text.check(path, config)
        except CheckpointError:
            return False
    return True


def has_own_text(config: dict[str, Any]) -> bool:
    """Whether the text tower of a model's config is open_clip's own, and not one of Hugging Face's."""
    return not isinstance(config["text_cfg"].get("hf_model_name"), str)


def is_described(folder: Path) -> bool:
    """Whether the folder has all files but the weights of a model that is taken."""
    try:
        return takes(folder) and all(
            path.is_file() for path in _tokenizer_files(folder, read_config(folder)[1])
        )
    except CheckpointError:
        return False


def is_complete(folder: Path) -> bool:
    """Whether the folder has all files of a model that is taken, the weights by open_clip's own names."""
    return is_described(folder) and any((folder / name).exists() for name in WEIGHTS[:2])


def space_of(source: Path, architecture: str | None = None) -> str:
    """The fingerprint of config, tokenizer, what is done to texts before it, and weights.

    Raises:
        CheckpointError: a file is missing.
    """
    folder = source.parent if source.is_file() else source
    settings = [] if architecture else [folder / CONFIG]
    config = read_config(folder, architecture)[1]
    words = _tokenizer_files(folder, config)
    rule = "NFC" if words[0].parent != folder else tokenizers.text_rule(folder)
    if nllb.is_nllb(folder, config["text_cfg"]):
        rule += nllb.text_rule(folder)
    return fingerprint([*settings, *words, weights_of(source)], rule=rule)


def _tokenizer_files(folder: Path, config: dict[str, Any]) -> list[Path]:
    """The files that say which tokens a text has; open_clip's own table of merges is no file of the folder.

    Raises:
        CheckpointError: there are none.
    """
    if not has_own_text(config):
        return tokenizers.files_of(folder)
    return open_clip_text.tokenizer_files(folder, config["text_cfg"], package().tokenizer.default_bpe())


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
    pixels = open_clip_images.vision_input(path, config["vision_cfg"], preprocessing)
    if has_own_text(config):
        return _with_own_text(source, weights, (path, config), pixels, architecture)
    with _with_local_text_model(folder, path, config) as local:
        model = build(path, package().CustomTextCLIP, local)
    load_strict(model, read_state(weights), weights, allowed=LEGACY)
    text, visual = model.text, model.visual
    pooler = local["text_cfg"].get("hf_pooler_type", "mean_pooler")
    if pooler not in POOLERS:
        raise CheckpointError(f"{path}: the pooler {pooler!r} is not known; known: {', '.join(POOLERS)}")
    pooling, languages = POOLERS[pooler], None
    if text.config.model_type == nllb.KIND:
        tokenizer, languages = nllb.trained_tokenizer(folder, int(text.config.vocab_size))
        pooling = "first" if pooling == "model" else pooling  # it has no pooler; open_clip then does so
    else:
        tokenizer = tokenizers.read(folder, int(text.config.vocab_size))
    pad_id = int(text.config.pad_token_id)
    limit = int(config["text_cfg"].get("context_length", package().tokenizer.DEFAULT_CONTEXT_LENGTH))
    places = int(text.config.max_position_embeddings) - pad_id - 1  # XLM-R counts from there
    inputs = Inputs(
        TextInput(max_tokens=min(limit, places), pad_id=pad_id, languages=languages),
        pixels,
    )
    meta = {
        "name": archive_name(folder),
        "space": space_of(source, architecture),
        "dim": int(config["embed_dim"]),
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": languages.tags() if languages else [],
        "source": f"open_clip {architecture or config['text_cfg']['hf_model_name']}",
        "license": licences.published(text.config.model_type),
    }
    towers = DualEncoder(
        TextTower(text.transformer, pooling, text.proj),
        VisionTower(visual, nn.Identity(), inputs.vision),
        inputs,
        model.logit_scale,
        getattr(model, "logit_bias", None),
    )
    return Checkpoint(folder, towers.eval(), tokenizer, meta, public_model=model, write=save)


def _with_own_text(
    source: Path,
    weights: Path,
    described: tuple[Path, dict[str, Any]],
    pixels: VisionInput,
    architecture: str | None,
) -> Checkpoint:
    """As `load`, of a model whose text tower is open_clip's own; `described`: where its config is, and it."""
    folder, (path, config) = weights.parent, described
    open_clip_text.check(path, config)
    kind = package().CustomTextCLIP if config.get("custom_text") else package().CLIP
    model = build(path, kind, config)
    state = read_state(weights)
    if config.get("custom_text"):  # Files of before it was a part of its own name its weights without it.
        state = package().model.convert_to_custom_text_state_dict(state)
    load_strict(model, state, weights, allowed=LEGACY)
    open_clip_images.check_size(path, model.visual, pixels.size)
    own = package().tokenizer.SimpleTokenizer
    text, inputs, tokenizer = open_clip_text.parts(path, folder, config, model, own)
    meta = {
        "name": archive_name(folder),
        "space": space_of(source, architecture),
        "dim": int(config["embed_dim"]),
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": [],
        "source": f"open_clip {architecture or kind.__name__}",
        "license": licences.of_image_tower(str(config["vision_cfg"].get("timm_model_name", ""))),
    }
    towers = DualEncoder(
        text,
        VisionTower(model.visual, nn.Identity(), pixels),
        Inputs(inputs, pixels),
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
        for path in {before / CONFIG, *_tokenizer_files(before, config), before / tokenizers.SETTINGS}:
            if path.parent == before and path.exists():
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
    name = str(text["hf_model_name"])
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
        elif short in nllb.TEXT_MODELS:
            nllb.text_config(short).save_pretrained(scratch)
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
    wanted = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_bias", "nonscalar_logit_scale")
    config = {**config, "vision_cfg": open_clip_images.local_vision(path, config["vision_cfg"])}
    try:
        with torch.random.fork_rng(devices=[]):  # The weights drawn here are the caller's business no more.
            return kind(**{key: config[key] for key in wanted if key in config})
    except Exception as error:  # A wrong config fails in whichever module reads it.
        raise CheckpointError(f"{path}: open_clip cannot build its model: {first_line(error)}") from error
