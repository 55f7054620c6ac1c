"""Put a dual encoder together from models that were trained apart.

    python -m models.assemble dual-encoder --vision models/clip-vit-base-patch32 \\
        --text models/roberta-base --out models/clip-roberta
    python -m models.assemble altclip --vision models/clip-vit-large-patch14 \\
        --text models/xlm-roberta-large --dim 768 --out models/altclip-start

dual-encoder    VisionTextDualEncoder: any vision and any text model of transformers, and new projections
                from both. `training.stages.contrastive --train heads` trains the projections.
altclip         AltCLIP before its first stage: CLIP's vision tower, both of CLIP's projections, and XLM-R
                with a new transformation into the states of CLIP's text tower. `training.stages.distillation`
                trains it, with CLIP as the teacher.

Folders are Hugging Face's, with a tokenizer and the image processor's settings; OUT is one too.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    CLIPModel,
    VisionTextDualEncoderModel,
    XLMRobertaModel,
)

from models import outputs
from models.files import image_processor, tokenizers
from models.files.weights import CheckpointError, first_line
from models.loaders import huggingface
from models.loaders.backbones import UNUSED_TEXT_KEYS


def dual_encoder(vision: Path, text: Path, dim: int) -> Any:
    """The model, with new projections into `dim` dimensions.

    Raises:
        CheckpointError: a folder holds no model that transformers knows.
    """
    try:
        return VisionTextDualEncoderModel.from_vision_text_pretrained(
            str(vision), str(text), projection_dim=dim, local_files_only=True
        )
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(f"{vision}, {text}: {first_line(error)}") from error


def altclip(vision: Path, text: Path, dim: int) -> Any:
    """The model; `dim` must be CLIP's own.

    Raises:
        CheckpointError: a folder does not hold a CLIP or an XLM-R.
    """
    clip: Any = huggingface.pretrained(CLIPModel, vision)
    xlm_r: Any = huggingface.pretrained(
        XLMRobertaModel, text, unused=UNUSED_TEXT_KEYS, add_pooling_layer=False
    )
    if dim != clip.config.projection_dim:
        raise CheckpointError(f"{vision} has {clip.config.projection_dim} dimensions, not {dim}")
    told = xlm_r.config.to_dict() | {"project_dim": clip.config.text_config.hidden_size}
    told.pop("model_type")
    config = AltCLIPConfig(
        text_config=told, vision_config=clip.config.vision_config.to_dict(), projection_dim=dim
    )
    made = AltCLIPModel(config)
    due = made.text_model.roberta.state_dict()
    # transformers 5 names the layers of its two copies of one model differently.
    renamed = {key.replace("encoder.layer.", "encoder.layers."): key for key in xlm_r.state_dict()}
    state = xlm_r.state_dict()
    made.text_model.roberta.load_state_dict({key: state[renamed.get(key, key)] for key in due})
    for name in ("vision_model", "visual_projection", "text_projection"):
        getattr(made, name).load_state_dict(getattr(clip, name).state_dict())
    made.logit_scale.data.copy_(clip.logit_scale.data)
    return made


KINDS: dict[str, Callable[[Path, Path, int], Any]] = {"dual-encoder": dual_encoder, "altclip": altclip}


def assemble(kind: str, vision: Path, text: Path, dim: int, out: Path) -> None:
    """Write the model as a folder, whole or not at all.

    Raises:
        CheckpointError: a file is missing, or see `dual_encoder` and `altclip`.
    """
    if out.exists():
        raise CheckpointError(f"{out} is there already")
    image_processor.file_of(vision)
    words = [*tokenizers.files_of(text), text / tokenizers.SETTINGS]
    made = KINDS[kind](vision, text, dim)
    with outputs.replacing(out) as partial:
        made.save_pretrained(partial)
        image_processor.copy(vision, partial)
        for path in words:
            if path.exists():
                shutil.copyfile(path, partial / path.name)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models.assemble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=tuple(KINDS))
    parser.add_argument("--vision", type=Path, required=True, help="folder of the vision model, or of a CLIP")
    parser.add_argument("--text", type=Path, required=True, help="folder of the text model")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of the common space")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new model")
    options = parser.parse_args(arguments)
    outputs.check("models.assemble", "--out", options.out)
    transformers.logging.set_verbosity_error()
    try:
        assemble(options.kind, options.vision, options.text, options.dim, options.out)
    except CheckpointError as error:
        sys.exit(f"models.assemble: {error}")
    print(f"{options.out}: {options.kind}")


if __name__ == "__main__":
    main()
