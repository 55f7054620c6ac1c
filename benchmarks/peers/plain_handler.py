"""A handler as TorchServe's tutorials write it, for comparison: Pillow, eager float32, JSON."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


def preprocess(encoded: bytes, size: int) -> torch.Tensor:
    """Encoded image → uint8 [size, size, 3]: shortest side to `size`, then the centre."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + size, top + size))))


class PlainHandler:
    """Decodes and resizes in a loop, stacks, runs the model, answers with lists of floats as JSON."""

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        self.size = int(context.model_yaml_config["handler"]["size"])
        self.model = torch.export.load(folder / "program.pt2").module()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[list[float]]:
        images = [preprocess(row.get("data") or row["body"], self.size) for row in data]
        with torch.no_grad():
            vectors: list[list[float]] = self.model(torch.stack(images)).tolist()
        return vectors
