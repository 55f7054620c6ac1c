"""The memory that projection heads may have: a vector for each concept, in the common space.

concepts.safetensors beside the heads:

    vectors         float32 [concepts, 512]
    text_scale      float32 [], of a text's cosines with them before the softmax; 0: texts recall nothing
    vision_scale    float32 [], of the classifier's logits; 0: images recall nothing. Else the concepts are
                    the classes that the image model was trained on, in the order of its classifier's rows
    vision_share    float32 [], see `models.modules.ClassMemory`
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models import outputs
from models.files.weights import CheckpointError, check_keys, read_state
from models.modules import ClassMemory, Memory

FILE = "concepts.safetensors"
NUMBERS = ("text_scale", "vision_scale", "vision_share")


@dataclass(frozen=True)
class ConceptMemory:
    vectors: Tensor
    text_scale: float
    vision_scale: float
    vision_share: float

    def of_texts(self) -> Memory | None:
        """What a text tower ends with; None where texts recall nothing."""
        if not self.text_scale:
            return None
        rows, dim = self.vectors.shape
        found = Memory(rows, dim, self.text_scale)
        found.vectors = nn.Parameter(self.vectors.clone())  # a tower's own: export frees one before the other
        return found

    def of_images(self, head: nn.Module, classifier: nn.Linear | None, path: Path) -> nn.Module:
        """The head of an image tower with what it recalls, or alone where images recall nothing.

        Raises:
            CheckpointError: the image model, whose heads are at `path`, was not trained on these concepts.
        """
        if not self.vision_scale:
            return head
        rows, dim = self.vectors.shape
        if classifier is None or classifier.out_features != rows:
            what = (
                "no classifier"
                if classifier is None
                else f"a classifier of {classifier.out_features} classes"
            )
            raise CheckpointError(
                f"{path} has {rows} concepts for images to recall, and their model has {what}"
            )
        found = ClassMemory(head, classifier, dim, scale=self.vision_scale, share=self.vision_share)
        found.vectors = nn.Parameter(self.vectors.clone())  # a tower's own: export frees one before the other
        return found


def read(path: Path, dim: int) -> ConceptMemory:
    """The memory in `dim` dimensions.

    Raises:
        CheckpointError: the file is missing or broken, or a tensor in it is not what it should be.
    """
    state = read_state(path)
    vectors = state.get("vectors", torch.zeros(1, dim))
    shapes = {"vectors": [len(vectors) if vectors.ndim else 1, dim], **{name: [] for name in NUMBERS}}
    check_keys(
        path,
        shapes.keys() - state.keys(),
        state.keys() - shapes.keys(),
        [
            (key, state[key].shape, due)
            for key, due in shapes.items()
            if key in state and [*state[key].shape] != due
        ],
    )
    numbers = {name: float(state[name]) for name in NUMBERS}
    if not len(vectors) or not torch.isfinite(vectors).all():
        raise CheckpointError(f"{path}: vectors must be rows of numbers, one for each concept")
    for name, value in numbers.items():
        if not 0 <= value < float("inf"):
            raise CheckpointError(f"{path}: {name} must be a number from 0 on, not {value}")
    return ConceptMemory(vectors.float(), **numbers)


def save(memory: ConceptMemory, path: Path) -> None:
    """Write the file, whole or not at all; vectors as float16, which is what they are read back to."""
    numbers = {name: torch.tensor(float(getattr(memory, name))) for name in NUMBERS}
    with outputs.replacing(path) as partial:
        save_file({"vectors": memory.vectors.half().contiguous(), **numbers}, partial)
