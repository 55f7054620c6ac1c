"""What is evaluated, in one interface: a model loaded here, or one that a client reaches.

Both embed texts and encoded images into unit rows. A loaded model decodes images with the reference
preprocessing; a served one decodes them itself.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from handlers.preprocess.reference import Pixels, decode_image
from handlers.runtime.machine import usable_cores
from models.checkpoint import Checkpoint
from training.evaluation.errors import EvaluationError

BATCH = 64
T = TypeVar("T")
MAX_PIXELS = 100_000_000
MAX_BYTES = 100_000_000


@dataclass(frozen=True)
class Picture:
    """An encoded image, and what to call it in a message."""

    name: str
    data: bytes


class Embedder(Protocol):
    """A model whose vectors can be compared: its `space` is known when it has embedded something."""

    name: str
    pretrained: str  # where it is from, as CLIP_benchmark calls it
    space: str

    def embed_texts(self, texts: list[str]) -> Tensor:
        """N texts → float32 [N, D], unit rows, in order."""

    def embed_images(self, pictures: Iterable[Picture]) -> Tensor:
        """N pictures, read once → float32 [N, D], unit rows, in order.

        Raises:
            EvaluationError: names the picture that has no vector.
        """


def token_arrays(
    tokenizer: Tokenizer, texts: list[str], *, max_tokens: int, pad_id: int
) -> tuple[Tensor, Tensor]:
    """ids and mask int64 [N, longest], rows padded with `pad_id` and cut to `max_tokens`."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    ids = torch.full((len(rows), max(map(len, rows), default=0)), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = 1
    return ids, mask


class LoadedModel:
    """A checkpoint, or any model that `models.loaders.registry.load` gives, in float32.

    Args:
        loaded: moved to `device`.
        pretrained: the source, as results name it.
    """

    def __init__(self, loaded: Checkpoint, pretrained: str, device: torch.device) -> None:
        self.name, self.pretrained = str(loaded.meta["name"]), pretrained
        self.space = str(loaded.meta["space"])
        self._model = loaded.model.to(device).eval()
        self._tokenizer, self._device = loaded.tokenizer, device

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """As in `Embedder`."""
        order = sorted(
            range(len(texts)), key=lambda i: len(texts[i])
        )  # like lengths together: little padding
        config = self._model.config.text
        parts = []
        for part in batches(order):
            wanted = [texts[i] for i in part]
            arrays = token_arrays(self._tokenizer, wanted, max_tokens=config.max_tokens, pad_id=config.pad_id)
            parts.append(self._model.text(*(array.to(self._device) for array in arrays)).cpu())
        vectors = torch.cat(parts)
        return torch.empty_like(vectors).index_copy_(0, torch.tensor(order), vectors)

    @torch.inference_mode()
    def embed_images(self, pictures: Iterable[Picture]) -> Tensor:
        """As in `Embedder`."""
        parts = []
        with ThreadPoolExecutor(usable_cores()) as pool:
            for part in batches(pictures):
                pixels = torch.from_numpy(np.stack(list(pool.map(self._decode, part))))
                parts.append(self._model.vision(pixels.to(self._device)).cpu())
        return torch.cat(parts)

    def _decode(self, picture: Picture) -> Pixels:
        try:
            return decode_image(
                picture.data,
                size=self._model.config.vision.size,
                resize=self._model.config.vision.resize,
                max_pixels=MAX_PIXELS,
                max_bytes=MAX_BYTES,
            )
        except Exception as error:  # Its class is the handlers' own business.
            raise EvaluationError(f"{picture.name}: {error}") from error


class Client(Protocol):
    """What is needed of `babelclip.Client`: its embeddings have `vectors`, `space` and `errors`."""

    def embed_texts(self, texts: Iterable[str], *, errors: Any) -> Any:
        """N texts → embeddings of N."""

    def embed_images(self, images: Iterable[Any], *, errors: Any) -> Any:
        """N encoded images → embeddings of N."""


class ServedModel:
    """A model behind a client: a server's, or that of exported archives in this process.

    Args:
        client: stays the caller's to close.
        pretrained: its URL, as results name it.
    """

    def __init__(self, client: Client, pretrained: str) -> None:
        self.name, self.pretrained, self.space = "served", pretrained, ""
        self._client = client

    def embed_texts(self, texts: list[str]) -> Tensor:
        """As in `Embedder`."""
        found = self._answer(lambda: self._client.embed_texts(texts, errors="return"))
        for fault in found.errors:
            raise EvaluationError(f"{self.pretrained}: the text {texts[fault.index]!r}: {fault.message}")
        return torch.from_numpy(found.vectors)

    def embed_images(self, pictures: Iterable[Picture]) -> Tensor:
        """As in `Embedder`."""
        names: list[str] = []

        def images() -> Iterator[bytes]:
            for picture in pictures:
                names.append(picture.name)
                yield picture.data

        found = self._answer(lambda: self._client.embed_images(images(), errors="return"))
        for fault in found.errors:
            raise EvaluationError(f"{names[fault.index]}: {self.pretrained}: {fault.message}")
        return torch.from_numpy(found.vectors)

    def _answer(self, ask: Callable[[], Any]) -> Any:
        try:
            found = ask()
        except EvaluationError:  # of the data set, which is read while images are sent
            raise
        except Exception as error:  # The client's classes are not known here.
            raise EvaluationError(f"{self.pretrained}: {error}") from error
        self.space = found.space
        return found


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, BATCH at a time."""
    remaining = iter(items)
    while part := list(islice(remaining, BATCH)):
        yield part
