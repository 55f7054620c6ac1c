"""The towers that are measured: ViT-B/32 and XLM-R base in their true shapes, with random weights.

Speed does not depend on the values of weights. The checkpoint and the archives are made by this repository's
own code, so what is measured is what a trained model of these shapes gets. The tokenizer has XLM-R's 250,002
pieces; texts are cut into those of mini, with which it begins.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.support.vocabularies import ROBERTA_MARKERS, tokenizer
from export.manifest import is_current, sources
from export.options import Options
from export.pipeline import export
from export.programs import example_inputs
from models import checkpoint
from models.modules import BabelCLIP, ModelConfig, TextConfig, VisionConfig

REPOSITORY = Path(__file__).resolve().parents[2]
MINI = REPOSITORY / "training" / "recipes" / "mini" / "checkpoint"
FOLDER = REPOSITORY / ".run" / "benchmarks"
NAME = "vit-b-32-xlm-r-base"
FACTS = "flops.json"
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
    config: ModelConfig
    flops: dict[str, float]
    """Floating-point operations of one image and of one text of TEXT_TOKENS tokens, in matmuls alone."""

    def archive(self, tower: str) -> Path:
        return self.store / f"{self.config.name}-{tower}.mar"

    def programs(self, tower: str) -> Path:
        """The folder with a tower's program in each form."""
        return self.store / self.config.name / tower


def ensure(*, quick: bool = False) -> Towers:
    """Make what is missing in FOLDER: the checkpoint once, the archives whenever code has changed.

    With `quick`, the archives are of the committed model.
    """
    if quick:
        model = checkpoint.load(MINI).model
        assert isinstance(model, BabelCLIP)
        return Towers(mini_store(), MINI, model.architecture, _flops(model))
    made = ensure_checkpoint()
    store = FOLDER / "store"
    _export(made, store)
    return Towers(store, made, CONFIG, json.loads((FOLDER / FACTS).read_text(encoding="utf-8")))


def mini_store() -> Path:
    """Archives of the committed model."""
    store = FOLDER / "mini-store"
    _export(MINI, store)
    return store


def _export(source: Path, store: Path) -> None:
    if not is_current(store, sources(source, Options())):
        print(f"towers: exporting {source}", flush=True)
        store.parent.mkdir(parents=True, exist_ok=True)
        export(source, store, Options())


def ensure_checkpoint() -> Path:
    """The checkpoint in FOLDER, made if it is missing, and what its operations cost beside it."""
    made = FOLDER / "checkpoint"
    if not (FOLDER / FACTS).exists():
        print(f"towers: making {NAME} with random weights", flush=True)
        torch.manual_seed(0)
        model = BabelCLIP(CONFIG).eval()
        words = tokenizer(CONFIG.text.vocab_size, *ROBERTA_MARKERS)
        FOLDER.mkdir(parents=True, exist_ok=True)
        checkpoint.save(made, model, words, languages=[], training={"steps": 0})
        (FOLDER / FACTS).write_text(json.dumps(_flops(model)) + "\n", encoding="utf-8")
    return made


@torch.inference_mode()
def _flops(model: BabelCLIP) -> dict[str, float]:
    ids = torch.full((1, TEXT_TOKENS), 5)
    inputs = {"text": (ids, torch.ones_like(ids)), "vision": (example_inputs(model, "vision")[0][:1],)}
    counted = {}
    for tower, arrays in inputs.items():
        with FlopCounterMode(display=False) as counter:
            getattr(model, tower)(*arrays)
        counted[tower] = float(counter.get_total_flops())
    return counted


def other_store() -> Path:
    """Archives of the committed model with other weights: another space, under another version."""
    made, store = FOLDER / "other-checkpoint", FOLDER / "other-store"
    if not made.exists():
        loaded = checkpoint.load(MINI)
        assert isinstance(loaded.model, BabelCLIP)
        torch.manual_seed(0)
        with torch.no_grad():
            for weights in loaded.model.parameters():
                weights.add_(0.1 * weights.std(correction=0) * torch.randn_like(weights))
        checkpoint.save(made, loaded.model, loaded.tokenizer, languages=[], training={})
    options = Options(version="2.0")
    if not is_current(store, sources(made, options)):
        export(made, store, options)
    return store
