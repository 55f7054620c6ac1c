"""The parity gate: an exported program must give the checkpoint's vectors, or it is not shipped.

The reference embeds every golden input alone and unpadded, in float32, with the checkpoint's own modules. The
program embeds them as serving does: in batches, padded to the length buckets. So the gate also catches
padding that leaks into a vector, and a program that is bound to one shape.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from export import golden
from export.programs import Program
from handlers import limits
from handlers.preprocess.reference import decode_image
from models.checkpoint import Checkpoint

Vectors = NDArray[np.float32]

MIN_COSINE = {"float32": 0.9999, "bfloat16": 0.995, "int8": 0.99}
TOP = 10
# Mean share of the ten nearest that stay.
MIN_TOP_AGREEMENT = {"float32": 0.99, "bfloat16": 0.95, "int8": 0.95}
# Cosines nearer to each other than this may change places.
TIE = {"float32": 1e-4, "bfloat16": 5e-3, "int8": 1e-2}
# Sizes in turn, so that no one batch size is all that was tried; few images, as the activations of a large
# convolutional tower would be the largest thing in memory.
BATCHES = {"text": (1, 3, 8), "vision": (1, 3)}


class ParityError(Exception):
    """A program does not reproduce the checkpoint; the message names the input that differs most."""


@dataclass(frozen=True)
class Report:
    program: str
    dtype: str
    inputs: int
    min_cosine: float
    worst_input: str
    mean_cosine: float
    top_agreement: float
    passed: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return (
            f"{self.program} ({self.dtype}): min cosine {self.min_cosine:.6f} at “{self.worst_input}”, "
            f"mean {self.mean_cosine:.6f}, top-{TOP} agreement {self.top_agreement:.3f} "
            f"over {self.inputs} inputs"
        )


def length_buckets(max_tokens: int) -> list[int]:
    """Token lengths that serving pads to: multiples of four to 16, of eight to 32, then doubling."""
    steps = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512]
    return sorted({*(step for step in steps if step < max_tokens), max_tokens})


def text_arrays(
    tokenizer: Tokenizer, texts: list[str], *, length: int | None, max_tokens: int, pad_id: int
) -> tuple[Tensor, Tensor]:
    """ids, mask int64 [N, length]; without a length, as long as the longest text."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    wide = length or max(len(row) for row in rows)
    ids = torch.full((len(rows), wide), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


class Golden:
    """The golden inputs of one tower, and what the checkpoint makes of them.

    `languages` are those whose texts count; none: all.
    """

    def __init__(self, loaded: Checkpoint, tower: str, languages: Sequence[str] = ()) -> None:
        self.loaded, self.tower = loaded, tower
        self.tokenizer = loaded.tokenizer
        """What the programs' inputs are made with; the reference's are made with the checkpoint's."""
        config = loaded.model.config
        self.pad_id = config.text.pad_id
        self.max_tokens = config.text.max_tokens
        if tower == "text":
            texts = golden.texts(languages)
            self.names, self.texts = list(texts), list(texts.values())
        else:
            images = golden.images()
            self.names = list(images)
            decoded = [
                decode_image(
                    data,
                    size=config.vision.size,
                    resize=config.vision.resize,
                    max_pixels=limits.MAX_PIXELS,
                    max_bytes=limits.MAX_IMAGE_BYTES,
                )
                for data in images.values()
            ]
            self.pixels = torch.from_numpy(np.stack(decoded))
        self.reference = self._reference()

    def arrays(self, part: list[int], *, padded: bool) -> tuple[Tensor, ...]:
        """Program inputs of some golden inputs; padded ones go to the next length bucket."""
        if self.tower == "vision":
            return (self.pixels[part],)
        texts = [self.texts[i] for i in part]
        limits = {"max_tokens": self.max_tokens, "pad_id": self.pad_id}
        tokenizer = self.tokenizer if padded else self.loaded.tokenizer
        ids, mask = text_arrays(tokenizer, texts, length=None, **limits)
        if not padded:
            return ids, mask
        bucket = next(size for size in length_buckets(self.max_tokens) if size >= ids.shape[1])
        return text_arrays(tokenizer, texts, length=bucket, **limits)

    @torch.inference_mode()
    def _reference(self) -> Vectors:
        module = getattr(self.loaded.model, self.tower)
        rows = [module(*self.arrays([i], padded=False)) for i in range(len(self.names))]
        return np.asarray(torch.cat(rows), dtype=np.float32)

    @torch.inference_mode()
    def embed(self, program: Program) -> Vectors:
        """[inputs, dim], by a program, in padded batches of changing size."""
        sizes = BATCHES[self.tower]
        rows, start, turn = [], 0, 0
        while start < len(self.names):
            part = list(range(start, min(start + sizes[turn % len(sizes)], len(self.names))))
            rows.append(np.asarray(program(*self.arrays(part, padded=True)), dtype=np.float32))
            start, turn = start + len(part), turn + 1
        return np.concatenate(rows)


def top_agreement(reference: Vectors, vectors: Vectors, tie: float) -> float:
    """Mean share of each row's TOP nearest other rows that are among the nearest of the reference too.

    A row that the reference places within `tie` of its last place counts as among them.
    """
    true, found = reference @ reference.T, vectors @ vectors.T
    np.fill_diagonal(true, -np.inf)
    np.fill_diagonal(found, -np.inf)
    top = min(TOP, len(true) - 1)
    last = -np.sort(-true, axis=1)[:, top - 1 : top]
    nearest = np.argsort(-found, axis=1)[:, :top]
    return float((np.take_along_axis(true, nearest, axis=1) >= last - tie).mean())


def compare(name: str, inputs: Golden, vectors: Vectors, dtype: str) -> Report:
    """How far a program's vectors are from the checkpoint's, and whether that is near enough."""
    sound = np.isfinite(vectors).all(1) & (np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-2)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(inputs.reference, axis=1)
    cosine = np.where(sound, (vectors * inputs.reference).sum(1) / np.maximum(norms, 1e-12), -1.0)
    worst = int(cosine.argmin())
    agreement = top_agreement(inputs.reference, np.nan_to_num(vectors), TIE[dtype])
    passed = bool(cosine[worst] >= MIN_COSINE[dtype] and agreement >= MIN_TOP_AGREEMENT[dtype])
    return Report(
        program=name,
        dtype=dtype,
        inputs=len(cosine),
        min_cosine=float(cosine[worst]),
        worst_input=inputs.names[worst],
        mean_cosine=float(cosine.mean()),
        top_agreement=agreement,
        passed=passed,
    )


def require(report: Report) -> None:
    """Raises ParityError unless the report passed."""
    if not report.passed:
        limits = (
            f"allowed: cosine ≥ {MIN_COSINE[report.dtype]}, agreement ≥ {MIN_TOP_AGREEMENT[report.dtype]}"
        )
        raise ParityError(f"{report.sentence()}; {limits}. Not written.")
