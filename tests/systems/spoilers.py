"""Ways in which a model's files are broken in practice; each returns what the complaint must name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Spoiler = Callable[[Path], str]

# The file whose weights are damaged, and a key of it whose tensor is no square: turned round, that would fit.
WEIGHTS = {
    "own": ("text.safetensors", "projection.weight"),
    "gzomer": ("clip-text-projection.ckpt", ""),
    "altclip": ("model.safetensors", "visual_projection.weight"),
    "laion-base": ("open_clip_model.safetensors", "text.proj.0.weight"),
    "laion-large": ("open_clip_model.safetensors", "visual.conv1.weight"),
    "dual-encoder": ("model.safetensors", "text_projection.weight"),
    "clip": ("model.safetensors", "visual_projection.weight"),
    "siglip": ("model.safetensors", "text_model.embeddings.token_embedding.weight"),
    "metaclip-2": ("model.safetensors", "text_model.embeddings.token_embedding.weight"),
    "nllb-clip": ("open_clip_model.safetensors", "text.proj.weight"),
    "nllb-clip-siglip": ("open_clip_model.safetensors", "text.proj.weight"),
    "open-clip": ("open_clip_model.safetensors", "token_embedding.weight"),
    "mobileclip2": ("open_clip_model.safetensors", "text.token_embedding.weight"),
    "pe-core": ("open_clip_model.safetensors", "text.token_embedding.weight"),
    "open-clip-siglip2": ("open_clip_model.safetensors", "text.token_embedding.weight"),
    "open-clip-siglip": ("open_clip_model.safetensors", "text.token_embedding.weight"),
    "mclip": ("text/model.safetensors", "LinearTransformation.weight"),
    "sentence-transformers": ("text/2_Dense/model.safetensors", "linear.weight"),
}

# Their tokenizer is open_clip's own, of which no file lies in the folder.
OWN_TOKENIZER = ("open-clip", "mobileclip2", "pe-core")


def spoilers(family: str) -> dict[str, Spoiler]:
    """The kinds of damage to try on a family."""
    file, key = WEIGHTS[family]

    def truncate(folder: Path) -> str:
        path = folder / file
        with path.open("r+b") as opened:
            opened.truncate(path.stat().st_size // 2)
        return file if file.endswith(".ckpt") else folder.name

    def missing(folder: Path) -> str:
        _edit_header(folder / file, lambda header: header.__setitem__(f"{key[:-1]}_", header.pop(key)))
        return key

    def misshapen(folder: Path) -> str:
        _edit_header(folder / file, lambda header: header[key]["shape"].reverse())
        return key

    def without_tokenizer(folder: Path) -> str:
        next(folder.rglob("tokenizer.json")).unlink()
        return "tokenizer.json"

    def swapped(folder: Path) -> str:
        text, vision = (folder / f"clip-{tower}-projection.ckpt" for tower in ("text", "visual"))
        text.rename(folder / "held")
        vision.rename(text)
        (folder / "held").rename(vision)
        return "swapped"

    found: dict[str, Callable[[Path], str]] = {"truncated": truncate, "without-tokenizer": without_tokenizer}
    if family in OWN_TOKENIZER:
        del found["without-tokenizer"]
    return found | (
        {"swapped": swapped} if family == "gzomer" else {"missing": missing, "misshapen": misshapen}
    )


def _edit_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the header of a safetensors file in place; the new one must have no more bytes than the old."""
    with path.open("r+b") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
        change(header)
        raw = json.dumps(header, separators=(",", ":")).encode()
        if len(raw) > length:
            raise ValueError(f"the new header has {len(raw)} bytes, the old one {length}")
        opened.seek(8)
        opened.write(raw.ljust(length))
