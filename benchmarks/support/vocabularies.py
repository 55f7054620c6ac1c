"""Tokenizers of the public models' sizes, made of the committed model's pieces."""

import itertools
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from tokenizers.models import BPE

MINI = Path(__file__).resolve().parents[2] / "training" / "recipes" / "mini" / "checkpoint" / "tokenizer.json"
SMALL_VOCABULARY = 42_000
ROBERTA_MARKERS = ("<s>", "</s>")
CLIP_MARKERS = ("<|startoftext|>", "<|endoftext|>")
GEMMA_MARKERS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
NLLB_MARKERS = ("<s>", "<pad>", "</s>", "<unk>")


def tokenizer(size: int, first: str, last: str) -> Tokenizer:
    """A Unigram tokenizer of `size` pieces that puts every text between the markers `first` and `last`.

    Markers that the committed tokenizer lacks become its last two pieces, as in CLIP. Pieces beyond the
    committed ones are pairs of them, a little less likely than their parts are together: they have realistic
    lengths, and leave the division of texts as it is.
    """
    raw = json.loads(MINI.read_text(encoding="utf-8"))
    pieces: list[tuple[str, float]] = [(piece, score) for piece, score in raw["model"]["vocab"]]
    known = {piece for piece, _ in pieces}
    markers = [marker for marker in (first, last) if marker not in known]
    ordinary = pieces[4:]
    for near, far in itertools.product(ordinary[:800], ordinary[:4000]):
        if len(pieces) + len(markers) >= size:
            break
        joined = near[0] + far[0].lstrip("▁")
        if joined not in known:
            known.add(joined)
            pieces.append((joined, near[1] + far[1] - 1.0))
    pieces += [(marker, 0.0) for marker in markers]
    if len(pieces) != size:
        raise ValueError(f"{len(pieces)} pieces where {size} are due")
    raw["model"]["vocab"] = pieces
    raw["added_tokens"] += [_special(size - len(markers) + i, marker) for i, marker in enumerate(markers)]
    ids = {piece: i for i, (piece, _) in enumerate(pieces) if piece in (first, last)}
    raw["post_processor"]["single"] = [
        {"SpecialToken": {"id": first, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": last, "type_id": 0}},
    ]
    raw["post_processor"]["special_tokens"] = {
        marker: {"id": marker, "ids": [number], "tokens": [marker]} for marker, number in ids.items()
    }
    return Tokenizer.from_str(json.dumps(raw, ensure_ascii=False))


def gemma(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Pieces and merges of a tokenizer of Gemma's kind with `size` pieces.

    The committed tokenizer's characters, bytes for all others, and merges of pairs of frequent characters.
    """
    raw = json.loads(MINI.read_text(encoding="utf-8"))
    letters = [piece for piece, _ in raw["model"]["vocab"] if len(piece) == 1]
    pieces = [*GEMMA_MARKERS, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = list(itertools.islice(itertools.product(letters[:520], repeat=2), size - len(pieces)))
    pieces += [near + far for near, far in merges]
    if len(pieces) != size:
        raise ValueError(f"{len(pieces)} pieces where {size} are due")
    return {piece: i for i, piece in enumerate(pieces)}, merges


def gemma_tokenizer(size: int) -> Tokenizer:
    """As Gemma's is published: it neither lowercases nor ends a text."""
    vocabulary, merges = gemma(size)
    made = Tokenizer(
        BPE(vocab=vocabulary, merges=merges, fuse_unk=True, unk_token="<unk>", byte_fallback=True)
    )
    made.add_special_tokens(list(GEMMA_MARKERS))
    made.normalizer = normalizers.Replace(" ", "▁")
    return made


def nllb(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Pieces and merges of a tokenizer of NLLB's kind: `size` pieces before the tokens of its languages.

    The committed tokenizer's characters, and merges of pairs of frequent ones; there are no bytes.
    """
    raw = json.loads(MINI.read_text(encoding="utf-8"))
    letters = [piece for piece, _ in raw["model"]["vocab"] if len(piece) == 1]
    pieces = [*NLLB_MARKERS, *letters]
    merges = list(itertools.islice(itertools.product(letters[:520], repeat=2), size - len(pieces)))
    pieces += [near + far for near, far in merges]
    if len(pieces) != size:
        raise ValueError(f"{len(pieces)} pieces where {size} are due")
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _special(number: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": True}
