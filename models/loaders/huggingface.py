"""Dual encoders in Hugging Face folders, as this project's export takes them.

CLIPModel; MetaClip2Model; AltCLIPModel, the 18-language variant included; VisionTextDualEncoderModel,
which training a projection between a vision and a text model leaves; SiglipModel (`models.loaders.siglip`).
The towers are transformers' own modules. A folder holds config.json, weights as safetensors or as a pickle of
tensors alone, what images need (`models.files.image_processor`) and a tokenizer (`models.files.tokenizers`).
Nothing is fetched, and nothing but tensors is unpickled.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AltCLIPModel,
    CLIPModel,
    MetaClip2Model,
    PreTrainedModel,
    SiglipModel,
    VisionTextDualEncoderModel,
)

from models import outputs
from models.checkpoint import Checkpoint
from models.dual_encoder import DualEncoder, Inputs, TextInput, TextTower, VisionTower
from models.files import image_processor, tokenizers
from models.files.weights import (
    CheckpointError,
    archive_name,
    check_keys,
    fingerprint,
    first_line,
    read_json,
    read_state,
    require,
)
from models.loaders import licences, siglip

KINDS: dict[str, type[PreTrainedModel]] = {
    "clip": CLIPModel,
    "metaclip_2": MetaClip2Model,
    "altclip": AltCLIPModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
    "siglip": SiglipModel,
}
# Why a kind that users ask for is not taken.
REFUSED = {
    "siglip2": "; NaFlex sees images of any proportion, which no program of one input size does: take "
    "SigLIP 2 in a fixed resolution"
}
# A file of weights, and the list of several parts in its place, in the order of preference.
WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
FOREIGN = ("flax_model.msgpack", "tf_model.h5")
# RoBERTa and its kin count a text's places from after the padding's id.
COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "altclip_text_model")
# Of AltCLIP by its paper; its text model has places for more.
ALTCLIP_TOKENS = 77


def is_huggingface(folder: Path) -> bool:
    """Whether the folder looks like a Hugging Face model, rather than like one of our checkpoints."""
    return (folder / "config.json").exists() and not (folder / "meta.json").exists()


def space_of(folder: Path) -> str:
    """The fingerprint of config, preprocessing, tokenizer, what is done to texts before it, and weights.

    Raises:
        CheckpointError: a file is missing.
    """
    settings = [folder / "config.json", image_processor.file_of(folder), *tokenizers.files_of(folder)]
    return fingerprint([*settings, *weights_of(folder)], rule=tokenizers.text_rule(folder))


def takes(folder: Path) -> bool:
    """Whether the config is that of a model of a known kind."""
    return is_huggingface(folder) and read_json(folder / "config.json").get("model_type") in KINDS


def is_described(folder: Path) -> bool:
    """Whether the folder has all files but the weights of a model of a known kind."""
    try:
        files = [image_processor.file_of(folder), *tokenizers.files_of(folder)] if takes(folder) else []
        return bool(files) and all(path.is_file() for path in files)
    except CheckpointError:
        return False


def is_complete(folder: Path) -> bool:
    """Whether the folder has all files of a model of a known kind."""
    try:
        return is_described(folder) and all(path.is_file() for path in weights_of(folder))
    except CheckpointError:
        return False


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise CheckpointError(
            f"{folder}/config.json: model_type {kind!r} is not known; known: {', '.join(KINDS)}"
            f"{REFUSED.get(str(kind), '')}"
        )
    space = space_of(folder)
    model = pretrained(KINDS[kind], folder)
    if kind == "siglip":
        towers, tokenizer = siglip.parts(folder, model)
        dim = int(model.config.vision_config.hidden_size)
    else:
        pixels = image_processor.vision_input(folder, int(model.config.vision_config.image_size))
        inputs = Inputs(_text_input(folder, kind, model.config.text_config), pixels)
        tokenizer = tokenizers.read(folder, model.config.text_config.vocab_size)
        if kind == "metaclip_2":
            _check_end(folder, tokenizer, model.config.text_config.eos_token_id)
        text = TextTower(model.text_model, "model", model.text_projection)
        vision = VisionTower(model.vision_model, model.visual_projection, inputs.vision)
        towers = DualEncoder(text, vision, inputs, model.logit_scale)
        dim = int(model.config.projection_dim)
    meta = {
        "name": archive_name(folder),
        "space": space,
        "dim": dim,
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": [],
        "source": KINDS[kind].__name__,
        "license": licences.published(kind),
    }
    return Checkpoint(folder, towers.eval(), tokenizer, meta, public_model=model, write=save)


def save(loaded: Checkpoint, folder: Path, about: dict[str, Any]) -> None:
    """Write the model, as it is now, as a folder that `load` takes, and `about` as its training.json."""
    with outputs.replacing(folder) as partial:
        partial.mkdir(parents=True)
        loaded.public_model.save_pretrained(partial)
        image_processor.copy(loaded.path, partial)
        for path in {*tokenizers.files_of(loaded.path), loaded.path / tokenizers.SETTINGS}:
            if path.exists():
                shutil.copyfile(path, partial / path.name)
        outputs.write_json(partial / "training.json", about)


def weights_of(folder: Path) -> list[Path]:
    """The files of a model's weights, in one form; in parts as their list names them.

    Raises:
        CheckpointError: there are none, or a part is missing.
    """
    for whole, parts in WEIGHTS:
        if (folder / whole).exists():
            return [require(folder / whole)]
        if (folder / parts).exists():
            listed = read_json(folder / parts).get("weight_map")
            if not isinstance(listed, dict) or not listed:
                raise CheckpointError(f"{folder}/{parts} has no weight_map of the parts")
            return [require(folder / Path(str(name)).name) for name in sorted(set(listed.values()))]
    foreign = [name for name in FOREIGN if (folder / name).exists()]
    hint = f"; {foreign[0]} is not read, save it with PyTorch" if foreign else ""
    raise CheckpointError(f"{folder}: no weights, neither model.safetensors nor pytorch_model.bin{hint}")


def pretrained(
    kind: type[PreTrainedModel], folder: Path, *, unused: tuple[str, ...] = (), **options: Any
) -> Any:
    """A model of one of transformers' classes, in float32, with exactly its own weights.

    Weights whose names begin with one of `unused` may be there besides; `options` go to the class.

    Raises:
        CheckpointError: the weights cannot be read, or are not those of config.json.
    """
    files = weights_of(folder)
    where: dict[str, Any] = {"pretrained_model_name_or_path": folder, "use_safetensors": True}
    try:
        if files[0].suffix != ".safetensors":
            # Read here, as all pickles are: of every age, and without the prefixes of a training run.
            config_class: Any = kind.config_class
            config = config_class.from_pretrained(folder, local_files_only=True)
            state = {key: value for file in files for key, value in read_state(file).items()}
            where = {"pretrained_model_name_or_path": None, "config": config, "state_dict": state}
        load_model: Any = kind.from_pretrained  # Its types do not know of output_loading_info.
        model, report = load_model(
            **where,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported with all others
            **options,
        )
    except CheckpointError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds
        raise CheckpointError(f"{folder}: its weights cannot be read: {first_line(error)}") from error
    surplus = [key for key in report["unexpected_keys"] if not key.startswith(unused)]
    check_keys(folder, report["missing_keys"], surplus, report["mismatched_keys"])
    return model


def _text_input(folder: Path, kind: str, text: Any) -> TextInput:
    pad_id = int(text.pad_token_id if text.pad_token_id is not None else 0)
    places = int(text.max_position_embeddings)
    if text.model_type in COUNT_FROM_PADDING:
        places -= pad_id + 1
    told = ALTCLIP_TOKENS if kind == "altclip" else places
    if (folder / "tokenizer_config.json").exists():
        longest = read_json(folder / "tokenizer_config.json").get("model_max_length")
        if isinstance(longest, int | float) and longest > 0:
            told = int(min(told, longest))
    return TextInput(max_tokens=min(told, places), pad_id=pad_id)


def _check_end(folder: Path, tokenizer: Tokenizer, end: Any) -> None:
    """Check that every text ends with the token whose state stands for it.

    Without one in a text, transformers takes the state of its first token, which knows of nothing after it.

    Raises:
        CheckpointError: it does not.
    """
    last = tokenizer.encode("a").ids[-1]
    if last != end:
        raise CheckpointError(
            f"{folder}/config.json: the text model reads a text off its token {end} (eos_token_id), and the "
            f"tokenizer ends texts with {last}"
        )
