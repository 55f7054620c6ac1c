"""MARs: a tower program with the handlers and all that it needs, for any TorchServe with the serve group."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

import handlers
from export.parity import length_buckets
from training.checkpoint import Checkpoint

FORMAT = 1
# One worker a tower and small delays: right for a small machine, and the place to change for a larger one.
MODEL_CONFIG: dict[str, dict[str, Any]] = {
    "text": {"batchSize": 32, "jobQueueSize": 1000},
    "vision": {"batchSize": 16, "jobQueueSize": 200},
}
COMMON_CONFIG = {
    "minWorkers": 1,
    "maxWorkers": 1,
    "maxBatchDelay": 3,  # milliseconds; 0 would become 100
    "responseTimeout": 60,  # seconds
    "startupTimeout": 300,  # seconds; a cold disk and busy cores have taken two minutes
}
LIMITS = {
    "max_items": 256,
    "max_text_bytes": 16_384,
    "max_image_bytes": 20_000_000,
    "max_pixels": 50_000_000,
    "max_batch": 32,
    "device": "auto",
}


class ArchiveError(Exception):
    """The model archiver refused; the message is its own."""


def tower_meta(loaded: Checkpoint, tower: str, dtype: str, canaries: dict[str, Any]) -> dict[str, Any]:
    """meta.json of a MAR: what its handler must know."""
    meta = {key: loaded.meta[key] for key in ("name", "space", "dim", "logit_scale", "languages")}
    meta |= {"format": FORMAT, "tower": tower, "dtype": dtype, "program": "program.pt2"}
    meta["canary"] = {**canaries[tower], "min_cosine": canaries["min_cosine"]}
    config = loaded.model.config
    if tower == "text":
        limit = config.text.max_tokens
        meta["text"] = {"max_tokens": limit, "pad_id": config.text.pad_id, "buckets": length_buckets(limit)}
    else:
        meta["vision"] = {"size": config.vision.size, "resize": "bicubic"}
    return meta


def model_config(tower: str) -> str:
    """model-config.yaml of a MAR."""
    return yaml.safe_dump({**COMMON_CONFIG, **MODEL_CONFIG[tower], "babelclip": LIMITS}, sort_keys=False)


def build(
    loaded: Checkpoint,
    tower: str,
    program: Path,
    *,
    dtype: str,
    version: str,
    canaries: dict[str, Any],
    target: Path,
) -> None:
    """Write the MAR `target` (its stem is the archive's model name), whole or not at all.

    Raises:
        ArchiveError: torch-model-archiver failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        stage, out = Path(scratch, "stage"), Path(scratch, "out")
        out.mkdir()
        source = Path(handlers.__file__).parent
        shutil.copytree(source, stage / "handlers", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
        shutil.copy(program, stage / "program.pt2")
        if tower == "text":
            shutil.copy(loaded.path / "tokenizer.json", stage / "tokenizer.json")
        text = json.dumps(tower_meta(loaded, tower, dtype, canaries), indent=2, ensure_ascii=False)
        (stage / "meta.json").write_text(text + "\n", encoding="utf-8")
        config = Path(scratch, "model-config.yaml")
        config.write_text(model_config(tower), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "model_archiver.model_packaging"),
            *("--model-name", target.stem, "--version", version),
            *("--handler", str(stage / "handlers" / f"clip_{tower}.py"), "--extra-files", str(stage)),
            *("--config-file", str(config), "--export-path", str(out)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        made = out / target.name
        if done.returncode != 0 or not made.exists():
            raise ArchiveError(f"torch-model-archiver failed: {(done.stderr or done.stdout).strip()[-600:]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        shutil.move(made, partial)
        partial.replace(target)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
