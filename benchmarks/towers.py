"""The towers that are measured: ViT-B/32 and XLM-R base in their true shapes, with random weights.

    python -m benchmarks.towers            makes them once, in .run/benchmarks/store

Speed does not depend on the values of weights. The checkpoint and the archives are made by this repository's
own code, so what is measured is what a trained model of these shapes gets. The tokenizer is mini's: its
42,000 pieces are ids of XLM-R's 250,002.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from export.__main__ import export
from export.manifest import is_current, sources
from export.programs import example_inputs
from training import checkpoint
from training.models import DualEncoder, ModelConfig, TextConfig, VisionConfig

REPOSITORY = Path(__file__).resolve().parents[1]
MINI = REPOSITORY / "training" / "checkpoints" / "mini"
FOLDER = REPOSITORY / ".run" / "benchmarks"
NAME = "vit-b-32-xlm-r-base"
CONFIG = ModelConfig(
    name=NAME,
    dim=512,
    text=TextConfig(vocab_size=250_002, width=768, layers=12, heads=12, max_tokens=77, pad_id=1),
    vision=VisionConfig(size=224, stem=(), patch=32, width=768, layers=12, heads=12),
)
TEXT_TOKENS = 12  # of the texts whose floating-point operations are counted


@dataclass(frozen=True)
class Towers:
    store: Path
    checkpoint: Path
    flops: dict[str, float]
    """Floating-point operations of one image and of one text of TEXT_TOKENS tokens, in products alone."""

    def archive(self, tower: str) -> Path:
        return self.store / f"{NAME}-{tower}.mar"


def ensure(folder: Path = FOLDER) -> Towers:
    """Make what is missing below `folder`: the checkpoint once, the archives whenever code has changed."""
    made = folder / "checkpoint"
    facts = folder / "flops.json"
    if not facts.exists():
        print(f"towers: making {NAME} with random weights", flush=True)
        torch.manual_seed(0)
        model = DualEncoder(CONFIG).eval()
        mini = checkpoint.load(MINI)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(made, model, mini.tokenizer, languages=mini.meta["languages"], training={"steps": 0})
        facts.write_text(json.dumps(_flops(model)) + "\n", encoding="utf-8")
    store = folder / "store"
    options = {"version": "1.0", "dtype": "float32", "forms": ("pt2", "onnx")}
    if not is_current(store, sources(made, **options)):
        print("towers: exporting", flush=True)
        export(made, store, **options)
    return Towers(store, made, json.loads(facts.read_text(encoding="utf-8")))


@torch.inference_mode()
def _flops(model: DualEncoder) -> dict[str, float]:
    ids = torch.full((1, TEXT_TOKENS), 5)
    inputs = {"text": (ids, torch.ones_like(ids)), "vision": (example_inputs(model, "vision")[0][:1],)}
    counted = {}
    for tower, arrays in inputs.items():
        with FlopCounterMode(display=False) as counter:
            getattr(model, tower)(*arrays)
        counted[tower] = float(counter.get_total_flops())
    return counted


if __name__ == "__main__":
    found = ensure()
    print(f"towers: archives in {found.store}, operations {found.flops}")
