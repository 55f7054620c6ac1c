"""What a Hugging Face folder says of its images, whichever version of transformers wrote it.

transformers 5 writes processor_config.json with the image processor's settings inside; earlier ones wrote
them as preprocessor_config.json, and those before 4.25 as a feature extractor's, with sizes as plain numbers.
transformers' own class of the name that stands there understands them, and knows what is left out.
"""

import json
import re
from pathlib import Path
from typing import Any

from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil, ViTImageProcessorPil

from handlers.preprocess.reference import Resize
from models.dual_encoder import VisionInput
from models.files.weights import BICUBIC, BILINEAR, CheckpointError, first_line, read_json, require, to_rgb

NEWER, OLDER = "processor_config.json", "preprocessor_config.json"
NESTED = "image_processor"
KINDS: dict[str, Any] = {
    "CLIPImageProcessor": CLIPImageProcessorPil,
    "SiglipImageProcessor": SiglipImageProcessorPil,
    "ViTImageProcessor": ViTImageProcessorPil,
}
SQUASHES: dict[int, Resize] = {BICUBIC: "squash-bicubic", BILINEAR: "squash-bilinear"}


def file_of(folder: Path) -> Path:
    """The file that has the settings: as in transformers, the newer one wins where both have them.

    Raises:
        CheckpointError: neither has them.
    """
    if (folder / NEWER).exists() and NESTED in read_json(folder / NEWER):
        return folder / NEWER
    if not (folder / OLDER).exists():
        raise CheckpointError(f"{folder}: {OLDER} is missing, and {NEWER} with an {NESTED} too")
    return require(folder / OLDER)


def copy(folder: Path, target: Path) -> None:
    """Write the settings into another folder, in the form that all versions of transformers read.

    Raises:
        CheckpointError: there are none.
    """
    path = file_of(folder)
    if path.name == OLDER:
        (target / OLDER).write_bytes(path.read_bytes())
    else:
        (target / OLDER).write_text(json.dumps(read_json(path)[NESTED], indent=2) + "\n", encoding="utf-8")


def vision_input(folder: Path, side: int, kind: str = "CLIPImageProcessor") -> VisionInput:
    """The pixels that the image processor would make, if they are ours.

    `kind` is its class where the settings do not name one.

    Raises:
        CheckpointError: there are no settings, or they ask for what handlers.preprocess.reference does not
            do, or for another size than `side`, the vision model's.
    """
    path = file_of(folder)
    processor = _processor(path, kind)
    size, crop = _sides(processor.size), _sides(getattr(processor, "crop_size", None))
    cropped = bool(getattr(processor, "do_center_crop", None))
    resample = processor.resample
    resize: Resize | None = None
    if size == {"shortest_edge": side} and resample == BICUBIC and cropped and crop == _square(side):
        resize = "bicubic"
    elif size == _square(side) and (not cropped or crop == size):
        resize = SQUASHES.get(resample)
    if resize is None or not processor.do_resize:
        asked = f"size {size}, resample {resample}, {f'crop_size {crop}' if cropped else 'no crop'}"
        raise CheckpointError(
            f"{path}: images must be resized to a shortest side of {side}, as the vision model takes them, "
            f"by resample 3 (bicubic) and cropped to {side}, or be squashed into {side} × {side} by 3 or 2 "
            f"(bilinear); it asks for {asked}{'' if processor.do_resize else ', do_resize false'}"
        )
    factor = processor.rescale_factor if processor.do_rescale else 1
    if abs(255 * factor - 1) > 1e-4 or not processor.do_normalize:
        raise CheckpointError(
            f"{path}: colours must be rescaled by 1/255 and normalised (do_normalize); it asks for a factor "
            f"of {factor} and do_normalize {processor.do_normalize}"
        )
    mean, std = (to_rgb(path, key, list(getattr(processor, key))) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise CheckpointError(f"{path}: image_std must be above 0")
    return VisionInput(size=side, mean=mean, std=std, resize=resize)


def _processor(path: Path, kind: str) -> Any:
    """The settings as an object of their class, which knows older forms and what is left out."""
    settings = read_json(path)
    if path.name == NEWER:
        settings = settings[NESTED]
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: {NESTED} must have names and values")
    told = settings.get("image_processor_type") or settings.get("feature_extractor_type") or kind
    kind = re.sub(r"(Fast|Pil)$", "", str(told).replace("FeatureExtractor", "ImageProcessor"))
    if kind not in KINDS:
        raise CheckpointError(f"{path}: {told} is not known; known: {', '.join(KINDS)}")
    try:
        return KINDS[kind].from_dict(settings)
    except Exception as error:  # Wrong settings fail wherever they are first looked at.
        raise CheckpointError(f"{path}: {first_line(error)}") from error


def _sides(size: Any) -> dict[str, int]:
    return {name: value for name, value in dict(size or {}).items() if value is not None}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}
