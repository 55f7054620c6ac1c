"""MARs: a tower program with the handlers and all that it needs, for any TorchServe with the serve group."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

import handlers
from export.options import Options
from export.parity import length_buckets
from export.programs import FILES
from handlers import limits
from models.checkpoint import Checkpoint
from models.files.plain_text import unknown_id

FORMAT = 2
# How many workers serve a tower is the machine's affair: scripts/serve --workers, or config.properties.
MODEL_CONFIG: dict[str, dict[str, Any]] = {
    "text": {"batchSize": 64, "jobQueueSize": 1000},
    "vision": {"batchSize": 32, "jobQueueSize": 200},
}
COMMON_CONFIG = {
    "maxBatchDelay": 1,  # milliseconds; a queue forms while a batch is computed; 0 would become 100
    "responseTimeout": 60,  # seconds
    "startupTimeout": 300,  # seconds; a cold disk and busy cores have taken two minutes
}
LIMITS = {
    "max_items": limits.MAX_ITEMS,
    "max_response_bytes": limits.MAX_RESPONSE_BYTES,
    "max_text_bytes": limits.MAX_TEXT_BYTES,
    "max_image_bytes": limits.MAX_IMAGE_BYTES,
    "max_pixels": limits.MAX_PIXELS,
    "max_batch": limits.MAX_BATCH,
    "device": "auto",
}
# Of a tower that is to need little memory: run by the one runtime that leaves weights as they are stored, on
# every CPU; and few enough tokens that a pass needs little memory, enough that widening the weights pays.
LOW_MEMORY = {"lean": True, "runtime": "onnxruntime", "max_pass_tokens": 512}


class ArchiveError(Exception):
    """The model archiver refused; the message is its own."""


def tower_meta(
    loaded: Checkpoint,
    tower: str,
    options: Options,
    *,
    reduction: float,
    self_tests: dict[str, Any],
) -> dict[str, Any]:
    """meta.json of a MAR: what its handler must know."""
    meta = {key: loaded.meta[key] for key in ("name", "space", "dim", "logit_scale", "languages")}
    meta |= {"format": FORMAT, "tower": tower, "dtype": options.dtype}
    if tower == "text" and options.languages:
        meta["languages"] = list(options.languages)
    if loaded.meta.get("license"):
        meta["license"] = loaded.meta["license"]
    meta["programs"] = {form: FILES[form][0] for form in options.forms}
    meta["canary"] = {**self_tests[tower], "min_cosine": self_tests["min_cosine"]}
    config = loaded.model.config
    if tower == "text":
        limit = config.text.max_tokens
        # A tower that fills its texts up by itself computes as much for a short one: all may share a pass.
        lengths = [limit] if config.text.fixed_length else length_buckets(limit)
        meta["text"] = {"max_tokens": limit, "pad_id": config.text.pad_id, "buckets": lengths}
        meta["text"]["unknown_id"] = unknown_id(loaded.tokenizer)
        if told := config.text.languages:
            meta["text"]["languages"] = {"default": told.default, "tokens": dict(told.tokens)}
    else:
        vision = config.vision
        meta["vision"] = {"size": vision.size, "resize": vision.resize, "reduction": reduction}
    return meta


def model_config(tower: str, *, low_memory: bool) -> str:
    """model-config.yaml of a MAR."""
    settings = {**LIMITS, **LOW_MEMORY} if low_memory else LIMITS
    return yaml.safe_dump({**COMMON_CONFIG, **MODEL_CONFIG[tower], "babelclip": settings}, sort_keys=False)


def build(
    loaded: Checkpoint,
    tower: str,
    programs: Path,
    options: Options,
    *,
    reduction: float,
    self_tests: dict[str, Any],
    target: Path,
) -> None:
    """Write the MAR `target` (its stem is the archive's model name), whole or not at all.

    `programs` is the folder of the tower's programs, on the disk of `target`; `reduction` is what
    `export.decoding` measured.

    Raises:
        ArchiveError: torch-model-archiver failed.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".archive-") as scratch:
        stage, out = Path(scratch, "stage"), Path(scratch, "out")
        out.mkdir()
        source = Path(handlers.__file__).parent
        shutil.copytree(source, stage / "handlers", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
        for name in (name for form in options.forms for name in FILES[form]):
            _place(programs / name, stage / name)
        if tower == "text":
            shutil.copy(programs / "tokenizer.json", stage / "tokenizer.json")
            if options.low_memory:
                shutil.copy(Path(__file__).with_name("sitecustomize.py"), stage / "sitecustomize.py")
        meta = tower_meta(loaded, tower, options, reduction=reduction, self_tests=self_tests)
        text = json.dumps(meta, indent=2, ensure_ascii=False)
        (stage / "meta.json").write_text(text + "\n", encoding="utf-8")
        config = Path(scratch, "model-config.yaml")
        config.write_text(model_config(tower, low_memory=options.low_memory), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "model_archiver.model_packaging"),
            *("--model-name", target.stem, "--version", options.version),
            *("--handler", str(stage / "handlers" / f"clip_{tower}.py"), "--extra-files", str(stage)),
            *("--config-file", str(config), "--export-path", str(out), "--archive-format", "no-archive"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        made = out / target.stem
        if done.returncode != 0 or not made.exists():
            raise ArchiveError(f"torch-model-archiver failed: {(done.stderr or done.stdout).strip()[-600:]}")
        partial = target.with_suffix(".partial")
        _pack(made, partial)
        partial.replace(target)


def _place(source: Path, target: Path) -> None:
    """One file under a second name, or a copy where the disk has no such links (FAT, folders of a host)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _pack(folder: Path, archive: Path) -> None:
    """A zip file of a folder, nothing compressed: weights hardly shrink, and trying takes minutes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
