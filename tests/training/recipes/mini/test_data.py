import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training.recipes.mini import data
from training.recipes.mini.dataset import DRAWINGS, HELD_OUT_FAMILY, TRAIN_FAMILIES, known_names


def test_the_held_out_family_is_never_trained_on() -> None:
    """Protects the evaluation from drawings that the model has seen."""
    assert HELD_OUT_FAMILY not in TRAIN_FAMILIES
    assert {*TRAIN_FAMILIES, HELD_OUT_FAMILY} == set(DRAWINGS)


def test_labels_follow_the_concepts(emoji_root: Path) -> None:
    """Protects the pairing of drawings and captions."""
    drawings = data.load_drawings(emoji_root, ("noto", "openmoji"), 32)
    assert drawings.label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    red, green = drawings.pixels[0, 16, 16], drawings.pixels[4, 16, 16]
    assert red.tolist() == [255, 0, 0]
    assert green.tolist() == [0, 128, 0]


def test_a_drawn_caption_is_one_of_its_label(emoji_root: Path, words: Tokenizer) -> None:
    """Protects the captions from being drawn for another concept."""
    captions = data.load_captions(emoji_root, words, ["en", "de"])
    chance = random.Random(0)
    for i in range(50):
        row = captions.of_label[1][i % 2]
        assert captions.label[row] == 1
        assert words.decode(data.draw_caption(captions, row, chance)) in {
            "blue circle",
            "blue",
            "circle",
            "circle blue",
            "blauer kreis",
            "blauer",
            "kreis",
            "kreis blauer",
        }


def test_an_epoch_is_one_pass_over_all_captions() -> None:
    """Protects captions from being passed over, and a resumed run from rows of its own."""
    epochs = [[data.rows_of_step(10, 3, step, seed=0) for step in range(e * 3, e * 3 + 3)] for e in range(2)]
    for epoch in epochs:
        seen = [row for rows in epoch for row in rows]
        assert len(set(seen)) == len(seen) == 9
    assert epochs[0] != epochs[1]
    assert data.rows_of_step(10, 3, 4, seed=0) == epochs[1][1]


def test_augmentation_keeps_range_and_white_paper(emoji_root: Path) -> None:
    """Protects training from pixels that serving never sees: out of range, or on black corners."""
    drawings = data.load_drawings(emoji_root, ("noto",), 32)
    white = torch.full_like(drawings.pixels, 255)
    out = data.augment(white, torch.Generator().manual_seed(0), 16)
    assert out.shape == (4, 16, 16, 3)
    assert out.min() >= 0
    assert out.max() <= 255
    assert (out[:, 0, 0] > 120).all()


def test_older_families_are_found_by_their_names_of_flags() -> None:
    """Protects the drawings of families that list flags by country."""
    assert {"flagforjapan", "flagforflagjapan"} <= known_names("🇯🇵", "flag: Japan", ["flag-japan"])
