"""CLIP_benchmark itself, with a model type more: whatever `models.loaders.registry.load` takes.

    pip install clip-benchmark requests "numpy<2.4"
    python -m training.evaluation.clip_benchmark_plugin eval --model_type babelclip --model mini \
        --pretrained training/recipes/mini/checkpoint --dataset wds/NAME --dataset_root FOLDER \
        --task zeroshot_retrieval --recall_k 1 5 10 --no_amp --output mini.json

takes every argument of `clip_benchmark`. `--model` is only the name in the result; `--pretrained` is the
source. The towers compute as they are served, from uint8 pixels, so `--no_amp` is the comparison with ours.

Version 1.6.2 imports requests without declaring it, and its accuracy fails with numpy 2.4: give it an
environment of its own. It drops the alpha channel of a WebDataset's image before any model sees it, while
the command of training.evaluation puts such an image over white.
"""

import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from handlers.preprocess.reference import Resize, to_pixels
from models.loaders import registry
from training.evaluation.embedding import token_arrays

MODEL_TYPE = "babelclip"


class Transform:
    """An image of Pillow → uint8 [size, size, 3]; picklable, for the workers of a data loader."""

    def __init__(self, size: int, resize: Resize) -> None:
        self.size, self.resize = size, resize

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(to_pixels(image, size=self.size, resize=self.resize)))


class Model(nn.Module):
    """The two methods that CLIP_benchmark calls."""

    def __init__(self, text: nn.Module, vision: nn.Module) -> None:
        super().__init__()
        self.text, self.vision = text, vision

    def encode_image(self, pixels: Tensor) -> Tensor:
        """uint8 [N, size, size, 3] → float32 [N, dim], unit rows."""
        vectors: Tensor = self.vision(pixels)
        return vectors

    def encode_text(self, tokens: Tensor) -> Tensor:
        """int64 [N, 2, L], ids and mask → float32 [N, dim], unit rows."""
        ids, mask = tokens.unbind(1)
        vectors: Tensor = self.text(ids, mask)
        return vectors


def load(
    model_name: str, pretrained: str, cache_dir: str | None = None, device: str | torch.device = "cpu"
) -> tuple[Model, Transform, object]:
    """CLIP_benchmark's loader: (model, transform, tokenizer).

    Args:
        model_name: ignored.
        pretrained: a source as of `python -m export`.
        cache_dir: ignored; the hub has its own cache.
        device: where the model computes.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    loaded = registry.load(registry.locate(pretrained))
    config = loaded.model.config

    def tokenize(texts: list[str]) -> Tensor:
        """N texts → int64 [N, 2, L], ids and mask: one tensor, because CLIP_benchmark moves one."""
        arrays = token_arrays(
            loaded.tokenizer, texts, max_tokens=config.text.max_tokens, pad_id=config.text.pad_id
        )
        return torch.stack(arrays, dim=1)

    return (
        Model(loaded.model.text, loaded.model.vision).to(device).eval(),
        Transform(config.vision.size, config.vision.resize),
        tokenize,
    )


def register() -> None:
    """Add the model type `babelclip` to CLIP_benchmark's.

    Raises:
        ImportError: clip-benchmark is not installed.
    """
    from clip_benchmark import models  # no dependency of this project

    if MODEL_TYPE not in models.TYPE2FUNC:
        models.TYPE2FUNC[MODEL_TYPE] = load
        models.MODEL_TYPES.append(MODEL_TYPE)  # The list that its command line offers as choices.


def main() -> None:
    try:
        register()
    except ImportError as error:
        sys.exit(f"training.evaluation.clip_benchmark_plugin: pip install clip-benchmark ({error})")
    from clip_benchmark import cli

    cli.main()


if __name__ == "__main__":
    main()
