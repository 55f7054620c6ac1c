"""What an open_clip config says of images: the pixels that a model takes, and towers that are timm's.

open_clip's evaluation transform resizes as `resize_mode` says, by the filter `interpolation`: `shortest` side
and a centre crop, `squash` into a square, or `longest` side and black beside it.
"""

from pathlib import Path
from typing import Any

from handlers.preprocess.reference import Resize
from models.dual_encoder import VisionInput
from models.files.weights import CheckpointError, to_rgb

RESIZES: dict[tuple[str, str], Resize] = {
    ("shortest", "bicubic"): "bicubic",
    ("shortest", "bilinear"): "bilinear",
    ("squash", "bicubic"): "squash-bicubic",
    ("squash", "bilinear"): "squash-bilinear",
    ("longest", "bicubic"): "longest-bicubic",
    ("longest", "bilinear"): "longest-bilinear",
}
# OpenAI's, which stand for what a config leaves out.
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


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
    told = {key: value for key, value in preprocessing.items() if value is not None}
    mode, interpolation = told.get("resize_mode", "shortest"), told.get("interpolation", "bicubic")
    if interpolation == "random":  # a training's; open_clip evaluates with bicubic then
        interpolation = "bicubic"
    for key, asked, known in (
        ("interpolation", interpolation, {filter_ for _, filter_ in RESIZES}),
        ("resize_mode", mode, {mode for mode, _ in RESIZES}),
    ):
        if asked not in known:
            raise CheckpointError(f"{path}: {key} {asked!r} is not served; {', '.join(sorted(known))} are")
    if mode == "longest" and told.get("fill_color", 0) != 0:
        raise CheckpointError(f"{path}: fill_color {told['fill_color']} is not served; 0, black, is")
    mean, std = told.get("mean", MEAN), told.get("std", STD)
    resize = RESIZES[mode, interpolation]
    mean, std = to_rgb(path, "mean", mean), to_rgb(path, "std", std)
    if min(std) <= 0:
        raise CheckpointError(f"{path}: std must be above 0")
    return VisionInput(size=size, mean=mean, std=std, resize=resize)


def local_vision(path: Path, vision: dict[str, Any]) -> dict[str, Any]:
    """The vision part of a model's config, of which nothing is fetched when it is built.

    Raises:
        CheckpointError: the tower gives more than vectors, or is none that timm has for images of one size.
    """
    if vision.get("output_tokens"):
        raise CheckpointError(f"{path}: an image tower with output_tokens, as CoCa's, is not taken")
    name = vision.get("timm_model_name")
    if not name:
        return vision
    import timm

    if not isinstance(name, str) or not timm.is_model(name):
        raise CheckpointError(f"{path}: timm {timm.__version__} has no model {name!r} (timm_model_name)")
    if name.startswith("naflex"):
        raise CheckpointError(
            f"{path}: {name} sees images of any proportion (NaFlex), which no program of one input size "
            "does; the models of a fixed resolution are taken"
        )
    return {**vision, "timm_model_pretrained": False}


def check_size(path: Path, visual: Any, size: int) -> None:
    """Raises CheckpointError where the tower has places for images of another size than `size`."""
    embedding = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    due = getattr(embedding, "img_size", None)
    if due is not None and getattr(embedding, "strict_img_size", True) and tuple(due) != (size, size):
        raise CheckpointError(
            f"{path}: image_size {size}, and its timm model takes images of {due[0]} × {due[1]}"
        )
