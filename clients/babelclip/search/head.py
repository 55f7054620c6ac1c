"""A classifier head: labels that were learnt from images, on the vectors of one embedding space.

    head = read_head("flowers.safetensors")
    with Client("http://127.0.0.1:8080") as client:
        rose, none = head.classify(client.embed_images(["1.jpg", "2.jpg"], errors="return"))
    rose.label, rose.probability, none.label  # "rose", 0.98, None

`python -m training.stages.classifier` of the repository makes one of a folder of labelled images. The file is
safetensors: `weight` [labels, dim], `bias` [labels] and `means` [labels, dim], all float32, and below
`babelclip` in its metadata, as JSON, the labels, the space, the calibration and how it was trained.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.atomic_files import replacing
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.search.calibration import FORMAT as CALIBRATION_FORMAT
from babelclip.search.calibration import Calibration, calibration_from
from babelclip.search.classify import THRESHOLD, Classification
from babelclip.search.ranking import softmax

FORMAT = 1
TENSORS = ("weight", "bias", "means")
META = "babelclip"  # the key of the metadata
MAX_HEADER_BYTES = 20_000_000


@dataclass(frozen=True, eq=False)
class ClassifierHead:
    """A linear classifier of L labels on vectors of length 1.

    Attributes:
        labels: L, all different.
        space: the embedding space whose vectors it was trained on.
        weight, bias: float32 [L, dim] and [L]; the logits of a vector v are weight · v + bias.
        means: float32 [L, dim], rows of length 1: the mean vector of each label's images.
        calibration: of the cosine between an image and the mean of its best label; without it every image has
            a label.
        about: how it was trained, for people.

    Raises:
        ValueError: the parts do not belong together, or numbers are not finite.
    """

    labels: tuple[str, ...]
    space: str
    weight: Vectors
    bias: Vectors
    means: Vectors
    calibration: Calibration | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.labels)
        if count < 2 or len(set(self.labels)) != count:
            raise ValueError("a head has at least two labels, each of which stands once")
        if not self.space:
            raise ValueError("a head has the space that it was trained on")
        dim = self.weight.shape[-1]
        shapes = {"weight": (count, dim), "bias": (count,), "means": (count, dim)}
        for name, due in shapes.items():
            found = getattr(self, name)
            if found.shape != due:
                raise ValueError(f"{name} must have the shape {list(due)}, not {list(found.shape)}")
            if not np.isfinite(found).all():
                raise ValueError(f"the numbers of {name} are not finite")
        if self.calibration is not None and self.calibration.space != self.space:
            raise ValueError(f"its calibration is of the space {self.calibration.space}, it of {self.space}")

    def classify(self, images: Embeddings, *, threshold: float = THRESHOLD) -> list[Classification]:
        """N embedded images → N classifications, in order; a failed image's has its error.

        `probability` is the softmax of the logits, `cosines` are those with each label's mean, and `match` is
        the probability that an image shows any of the labels, by the cosine of the best one.

        Args:
            threshold: the least `match` at which a classification has a label.

        Raises:
            SpaceMismatch: the vectors are of another space than the head was trained on.
            ValueError: the threshold is not from 0 to 1.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, not {threshold}")
        if images.space and (images.space != self.space or images.dim != self.weight.shape[1]):
            raise SpaceMismatch(
                f"the head was trained on vectors of the space {self.space}, these are of {images.space}:"
                " train it again with this model"
            )
        errors = {error.index: error for error in images.errors}
        # Where no image has a vector, there are no values either.
        rows = images.vectors if images.dim else np.zeros((len(images), self.weight.shape[1]), np.float32)
        shares = softmax(rows @ self.weight.T + self.bias)
        cosines = (rows @ self.means.T).clip(-1.0, 1.0)
        answers = []
        for index, (row, probabilities) in enumerate(zip(cosines, shares, strict=True)):
            if index in errors:
                answers.append(Classification(None, 0.0, None, None, {}, errors[index]))
                continue
            best = int(probabilities.argmax())
            match = None if self.calibration is None else float(self.calibration.probability(row[best]))
            answers.append(
                Classification(
                    label=self.labels[best] if match is None or match >= threshold else None,
                    probability=float(probabilities[best]),
                    match=match,
                    best=self.labels[best],
                    cosines=dict(zip(self.labels, row.tolist(), strict=True)),
                    probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
                )
            )
        return answers

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a file that `read_head` reads, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        calibration = self.calibration and {"format": CALIBRATION_FORMAT, **asdict(self.calibration)}
        meta = {
            "format": FORMAT,
            "space": self.space,
            "labels": self.labels,
            "calibration": calibration,
            "about": dict(self.about),
        }
        header: dict[str, Any] = {"__metadata__": {META: json.dumps(meta, ensure_ascii=False)}}
        body = b""
        for name in TENSORS:
            array = np.ascontiguousarray(getattr(self, name), dtype="<f4")
            offsets = [len(body), len(body) + array.nbytes]
            header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
            body += array.tobytes()
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # so that the numbers begin where processors like it
        with replacing(Path(path)) as (partial,):
            partial.write_bytes(len(text).to_bytes(8, "little") + text + body)


def read_head(path: str | os.PathLike[str]) -> ClassifierHead:
    """What `ClassifierHead.save` wrote.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        return head_from(Path(path).read_bytes())
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is no classifier head: {_said(error)}") from error


def head_from(data: bytes) -> ClassifierHead:
    """The content of a file → the head.

    Raises:
        ValueError, KeyError, TypeError, OverflowError, RecursionError: it is none.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise ValueError("it is no safetensors file")
    header = json.loads(data[8 : 8 + length])
    meta = json.loads(header.pop("__metadata__")[META])
    if meta["format"] != FORMAT:
        raise ValueError(f"its format is {meta['format']!r}, not {FORMAT}")
    if sorted(header) != sorted(TENSORS):
        raise ValueError(f"its tensors are {', '.join(map(str, header))}, not {', '.join(TENSORS)}")
    body = memoryview(data)[8 + length :]
    tensors = {name: _tensor(name, header[name], body) for name in TENSORS}
    labels, space, about = meta["labels"], meta["space"], meta.get("about") or {}
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise ValueError("its labels must be a list of texts")
    if not isinstance(space, str) or not isinstance(about, dict):
        raise ValueError("its space must be a text, and what it says of itself an object")
    calibration = None if meta["calibration"] is None else calibration_from(meta["calibration"])
    return ClassifierHead(tuple(labels), space, **tensors, calibration=calibration, about=about)


def _tensor(name: str, entry: Any, body: memoryview) -> NDArray[np.float32]:
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, begin, end]
    if entry["dtype"] != "F32" or len(shape) not in (1, 2):
        raise ValueError(f"{name} must be float32 with one or two dimensions")
    if not all(type(number) is int and number >= 0 for number in numbers) or end > len(body):
        raise ValueError(f"{name} lies outside of the file")
    if end - begin != 4 * math.prod(shape):
        raise ValueError(f"{name} has {end - begin} bytes for the shape {shape}")
    return np.frombuffer(body[begin:end], dtype="<f4").reshape(shape).astype(np.float32)


def _said(error: Exception) -> str:
    """What is wrong; a KeyError's text is the key alone."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
