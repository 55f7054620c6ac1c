"""A miniature of the emoji data set, and a model small enough to train and export in a test."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer

from models.modules import BabelCLIP, ModelConfig, TextConfig, VisionConfig
from training.recipes.mini import tokenizer
from training.recipes.mini.dataset import DRAWINGS, code_points

NAMES = {
    "en": {"🔴": "red circle", "🔵": "blue circle", "🟩": "green square", "🟨": "yellow square"},
    "de": {"🔴": "roter Kreis", "🔵": "blauer Kreis", "🟩": "grünes Quadrat", "🟨": "gelbes Quadrat"},
    "ja": {"🔴": "赤い丸", "🔵": "青い丸", "🟩": "緑の四角", "🟨": "黄色い四角"},
}
COLOURS = {"🔴": "red", "🔵": "blue", "🟩": "green", "🟨": "yellow"}


@pytest.fixture(scope="session")
def emoji_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four emoji, drawn by every family in its own size, named in three locales."""
    root = tmp_path_factory.mktemp("emoji")
    for number, family in enumerate(DRAWINGS):
        folder = root / "drawings" / family
        folder.mkdir(parents=True)
        for emoji, colour in COLOURS.items():
            image = Image.new("RGB", (96, 96), "white")
            draw = ImageDraw.Draw(image)
            shape = draw.ellipse if emoji in "🔴🔵" else draw.rectangle
            shape((10 + number, 10, 86, 86 - number), fill=colour)
            image.save(folder / f"{code_points(emoji)}.png")
    (root / "captions").mkdir()
    for locale, names in NAMES.items():
        rows = {emoji: {"name": name, "keywords": name.split()} for emoji, name in names.items()}
        (root / "captions" / f"{locale}.json").write_text(json.dumps(rows), encoding="utf-8")
    concepts = [{"emoji": emoji, "slug": emoji, "families": list(DRAWINGS)} for emoji in COLOURS]
    (root / "concepts.json").write_text(json.dumps(concepts), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    return tokenizer.train((name for names in NAMES.values() for name in names.values()), 200)


def make_model(words: Tokenizer) -> BabelCLIP:
    torch.manual_seed(0)
    text = TextConfig(vocab_size=words.get_vocab_size(), width=32, layers=1, heads=2, max_tokens=16, memory=4)
    vision = VisionConfig(size=32, stem=(8, 16), width=32, layers=1, heads=2)
    model = BabelCLIP(ModelConfig(name="test", dim=16, text=text, vision=vision)).eval()
    with torch.no_grad():
        model.text.get_parameter("memory.vectors").normal_()
    return model


@pytest.fixture
def small_model(words: Tokenizer) -> BabelCLIP:
    return make_model(words)
