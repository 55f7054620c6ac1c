"""What a MAR says about itself (meta.json) and what its operator allows (model-config.yaml).

Both are checked when a worker starts: a wrong value stops the load with a sentence that names it, instead of
failing requests later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from handlers import limits
from handlers.preprocess.languages import LanguageTokens
from handlers.preprocess.reference import RESIZES, Resize
from handlers.runtime.device import RUNTIMES
from handlers.self_test import SelfTest, read_self_test

FORMAT = 2
# The names that settings had before; archives that were made with them must still be served.
_FORMER_NAMES = {"lean": "low_memory"}


@dataclass(frozen=True)
class Settings:
    """The section `babelclip:` of model-config.yaml."""

    max_items: int = limits.MAX_ITEMS
    """Items of one request."""
    max_response_bytes: int = limits.MAX_RESPONSE_BYTES
    """Bytes of one response, at most max_response_size of config.properties."""
    max_text_bytes: int = limits.MAX_TEXT_BYTES
    """UTF-8 bytes of one text."""
    max_image_bytes: int = limits.MAX_IMAGE_BYTES
    """Encoded bytes of one image."""
    max_pixels: int = limits.MAX_PIXELS
    """Width × height that one image is decoded to, by its header. A JPEG may have eight times as many, as it
    can be decoded at a reduced size. All images that a worker decodes at a time take at most
    `limits.BYTES_PER_PIXEL` for each."""
    max_batch: int = limits.MAX_BATCH
    """Rows of one forward pass."""
    max_pass_tokens: int = limits.MAX_PASS_TOKENS
    """Tokens of one forward pass, padding included; 0: as many as `max_batch` texts have. More need more
    memory, and on CPUs are no faster."""
    decode_threads: int = 0
    """Threads that decode images; 0: as many as `threads`."""
    threads: int = 0
    """Threads of one forward pass on the CPU; 0: the usable cores divided by this model's workers."""
    device: str = "auto"
    """auto, cpu, cuda or hpu; see handlers.runtime.device."""
    dtype: str = "auto"
    """auto (BABELCLIP_DTYPE, else the fastest that is sound), float32 or bfloat16; see there."""
    runtime: str = "auto"
    """auto, torch, onnxruntime or openvino; see handlers.runtime.device."""
    low_memory: bool = False
    """Whether ONNX Runtime widens stored weights in each pass, which takes longer, instead of once; `lean`
    before."""
    compile: bool = False
    """torch.compile with static shapes on CUDA and CPU. On HPU compilation follows PT_HPU_LAZY_MODE."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, default = getattr(self, field.name), field.default
            if type(value) is not type(default):
                raise ValueError(
                    f"babelclip.{field.name} must be of type {type(default).__name__}, not {value!r}"
                )
        for name in (
            "max_items",
            "max_response_bytes",
            "max_text_bytes",
            "max_image_bytes",
            "max_pixels",
            "max_batch",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"babelclip.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_pass_tokens", "decode_threads", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"babelclip.{name} must be at least 0, not {getattr(self, name)}")
        if self.max_pixels > limits.LARGEST_MAX_PIXELS:
            raise ValueError(f"babelclip.max_pixels must be at most {limits.LARGEST_MAX_PIXELS:,}")
        if self.device not in ("auto", "cpu", "cuda", "hpu"):
            raise ValueError(f"babelclip.device must be auto, cpu, cuda or hpu, not {self.device!r}")
        if self.runtime not in ("auto", *RUNTIMES):
            raise ValueError(f"babelclip.runtime must be auto, {', '.join(RUNTIMES)}, not {self.runtime!r}")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"babelclip.dtype must be auto, float32 or bfloat16, not {self.dtype!r}")

    @staticmethod
    def from_model_config(model_config: Mapping[str, Any] | None) -> Settings:
        """The parsed model-config.yaml → settings; what it leaves out has the defaults above.

        Raises:
            ValueError: an unknown name, a wrong type or a value out of range.
        """
        section = (model_config or {}).get("babelclip") or {}
        if not isinstance(section, Mapping):
            raise ValueError("babelclip in model-config.yaml must hold names and values")
        known = {field.name for field in fields(Settings)}
        unknown = sorted(str(name) for name in section if name not in known and name not in _FORMER_NAMES)
        if unknown:
            raise ValueError(f"unknown settings in babelclip: {', '.join(unknown)}; known: {sorted(known)}")
        for former, name in _FORMER_NAMES.items():
            if former in section and name in section:
                raise ValueError(f"babelclip.{former} is the former name of {name}; give one of them")
        return Settings(**{_FORMER_NAMES.get(str(name), str(name)): value for name, value in section.items()})


def worker_count(model_config: Mapping[str, Any] | None) -> int:
    """How many workers of this model share the machine.

    By model-config.yaml, else by BABELCLIP_WORKERS, which scripts/serve sets; 1 where neither says.
    """
    counts = [(model_config or {}).get(name) for name in ("minWorkers", "maxWorkers")]
    told = [count for count in counts if isinstance(count, int)]
    named = os.environ.get("BABELCLIP_WORKERS", "")
    return max([1, *(told or [int(named) if named.isdecimal() else 1])])


def response_timeout(model_config: Mapping[str, Any] | None) -> float:
    """Seconds after which TorchServe kills a worker that has not answered, by model-config.yaml."""
    seconds = (model_config or {}).get("responseTimeout")
    # A default of config.properties is not told to handlers.
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else limits.RESPONSE_TIMEOUT


@dataclass(frozen=True)
class TextMeta:
    """Tokens of a text tower."""

    max_tokens: int
    pad_id: int
    buckets: tuple[int, ...]
    """Token lengths that are padded to, ascending; the last is `max_tokens`."""
    unknown_id: int | None = None
    """The token of every letter that the tokenizer does not know; None where it knows all, by their bytes."""
    languages: LanguageTokens | None = None
    """What tells the tower the language of a text; None where nothing does."""


@dataclass(frozen=True)
class VisionMeta:
    """Input of a vision tower: uint8 pixels [N, size, size, 3]."""

    size: int
    resize: Resize
    reduction: float
    """What decoding a JPEG at a reduced scale must leave, as a multiple of `size`; 0: never reduced."""


@dataclass(frozen=True)
class TowerMeta:
    """meta.json of a MAR."""

    tower: str
    space: str
    dim: int
    logit_scale: float
    dtype: str
    programs: Mapping[str, Path]
    """By form, pt2 or onnx."""
    self_test: SelfTest
    text: TextMeta | None
    vision: VisionMeta | None
    version: str = ""
    """What TorchServe registered the archive as; no part of meta.json."""
    numerics: str = ""
    """What the worker computes by, as "cpu float32 onnxruntime"; no part of meta.json either."""

    @property
    def languages(self) -> LanguageTokens | None:
        """The languages that a text tower may be told; None where it is told none."""
        return None if self.text is None else self.text.languages


def read_meta(folder: Path, *, tower: str) -> TowerMeta:
    """meta.json in `folder` → the facts that the handler of `tower` ("text" or "vision") needs.

    Raises:
        ValueError: the file is of another format or another tower, or a value is missing or wrong.
    """
    raw = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"meta.json is not of format {FORMAT}, which is what this handler reads")
    if raw.get("tower") != tower:
        raise ValueError(f"meta.json is of the tower {raw.get('tower')!r}, the handler is of {tower!r}")
    try:
        programs = {str(form): folder / Path(str(name)).name for form, name in raw["programs"].items()}
        return TowerMeta(
            tower=tower,
            space=str(raw["space"]),
            dim=int(raw["dim"]),
            logit_scale=float(raw["logit_scale"]),
            dtype=str(raw["dtype"]),
            programs=programs,
            self_test=read_self_test(raw["canary"], tower),
            text=_text(raw["text"]) if tower == "text" else None,
            vision=_vision(raw["vision"]) if tower == "vision" else None,
        )
    except KeyError as error:
        raise ValueError(f"meta.json lacks {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"meta.json holds a value of a wrong type: {error}") from error


def _text(raw: Mapping[str, Any]) -> TextMeta:
    max_tokens = int(raw["max_tokens"])
    # The program takes 2 to max_tokens tokens; a longest bucket of exactly max_tokens holds every text.
    buckets = {min(max(int(length), 2), max_tokens) for length in raw["buckets"]} | {max_tokens}
    unknown = raw.get("unknown_id")
    languages = raw.get("languages")
    return TextMeta(
        max_tokens=max_tokens,
        pad_id=int(raw["pad_id"]),
        buckets=tuple(sorted(buckets)),
        unknown_id=None if unknown is None else int(unknown),
        languages=None if languages is None else _languages(languages),
    )


def _languages(raw: Mapping[str, Any]) -> LanguageTokens:
    tokens = {str(code): int(token) for code, token in raw["tokens"].items()}
    return LanguageTokens(default=str(raw["default"]), tokens=tokens)


def _vision(raw: Mapping[str, Any]) -> VisionMeta:
    if raw["resize"] not in RESIZES:
        raise ValueError(
            f"meta.json asks for resize {raw['resize']!r}; this handler has {', '.join(RESIZES)}"
        )
    reduction = float(raw["reduction"])
    if reduction != 0 and not reduction >= 1:
        raise ValueError(f"meta.json has the reduction {reduction}; it must be 0 or at least 1")
    return VisionMeta(size=int(raw["size"]), resize=raw["resize"], reduction=reduction)
