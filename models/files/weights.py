"""What the sources of public models share: files that must be there, weights that must fit, one fingerprint.

Every error is a CheckpointError of one line that names the file and what is missing, too much or wrong.
Nothing but tensors is ever unpickled.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.files import pickles
from models.files.pickles import first_line as first_line
from models.files.plain_text import is_canonical, plain

BILINEAR, BICUBIC = 2, 3  # Pillow's numbers
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")  # what DDP and torch.compile put before names
SHOWN = 3  # wrong keys that one line names before it counts the others


class CheckpointError(Exception):
    """Files of a model are missing, or are not of the format or the model that they should be."""


def require(path: Path) -> Path:
    """The path of a file that must exist, with its content: git without LFS leaves a note in its place."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: {path.name} is missing")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise CheckpointError(f"{path} was cloned without its content: run `git lfs pull` in its folder")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """An object of names and values."""
    try:
        found = json.loads(require(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold names and values")
    return found


def read_state(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file or of a pickle; a training checkpoint's under `state_dict`.

    The prefixes of distributed training and of torch.compile are taken off.
    """
    require(path)
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = pickles.load(path, mmap=True)
    except pickles.PickleError as error:
        raise CheckpointError(f"{path}: its weights cannot be read: {error}") from error
    except Exception as error:  # safetensors raises many kinds.
        raise CheckpointError(f"{path}: its weights cannot be read: {first_line(error)}") from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} must hold named tensors, or a training checkpoint with a state_dict")
    return {WRAPPERS.sub("", str(name)): value for name, value in found.items()}


def check_keys(
    path: Path,
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshapen: Iterable[tuple[str, Iterable[int], Iterable[int]]],
) -> None:
    """Raises CheckpointError unless all are empty; `misshapen` has (key, shape found, shape due)."""
    wrong = [f"missing {key}" for key in sorted(missing)]
    wrong += [f"unexpected {key}" for key in sorted(unexpected)]
    wrong += [
        f"{key} has the shape {list(found)} where {list(due)} is due"
        for key, found, due in sorted(misshapen, key=str)
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CheckpointError(
            f"{path}: its weights are not those of the model: {'; '.join(wrong[:SHOWN])}{more}"
        )


def load_strict(
    module: nn.Module, state: Mapping[str, Tensor], path: Path, *, allowed: Collection[str] = ()
) -> None:
    """Give the module the tensors of `path`, in float32: every one, each in its shape, and no others.

    Tensors of float32 stay where they are, mapped from the file, so that a model needs no second memory. Keys
    that match one of the regular expressions `allowed` are left out in silence.
    """
    due = module.state_dict()
    surplus = [key for key in state if key not in due and not any(re.match(one, key) for one in allowed)]
    misshapen = [
        (key, state[key].shape, due[key].shape)
        for key in due
        if key in state and state[key].shape != due[key].shape
    ]
    check_keys(path, [key for key in due if key not in state], surplus, misshapen)
    module.load_state_dict({key: state[key] for key in due}, assign=True)
    module.float()


def read_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """A tokenizer.json whose ids the text model has a row for, reading any text as text."""
    return plain(published_tokenizer(path, vocabulary))


def text_rule(path: Path) -> str:
    """What `read_tokenizer` does to texts before a tokenizer.json's own rules: "NFC", or "" for nothing.

    Raises:
        CheckpointError: the file is missing or no JSON.
    """
    return "" if is_canonical(read_json(path).get("normalizer")) else "NFC"


def published_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """A tokenizer.json as it stands, with control tokens by their names."""
    require(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{path}: {first_line(error)}") from error
    check_vocabulary(path, tokenizer, vocabulary)
    return tokenizer


def check_vocabulary(path: Path, tokenizer: Tokenizer, vocabulary: int) -> None:
    """Raises CheckpointError where the tokenizer, of `path`, has ids that the text model has no row for."""
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f"{path} has {tokenizer.get_vocab_size()} tokens and the text model {vocabulary}"
        )


def to_rgb(path: Path, name: str, values: Any) -> tuple[float, ...]:
    """A value each for red, green and blue.

    Raises:
        CheckpointError: it is not a list of three numbers.
    """
    if not isinstance(values, list) or len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise CheckpointError(f"{path}: {name} must be three numbers")
    return tuple(float(value) for value in values)


def fingerprint(paths: Iterable[Path], *, rule: str = "") -> str:
    """16 hex digits of SHA-256 over files, each with its name, and over the `text_rule` if there is one.

    Raises:
        CheckpointError: one is missing.
    """
    digest = hashlib.sha256()
    for path in paths:
        with require(path).open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    digest.update(rule.encode())
    return digest.hexdigest()[:16]


def archive_name(path: Path) -> str:
    """A folder's name, that of a link too, as a name for archives."""
    return re.sub(r"[^a-z0-9.-]+", "-", path.absolute().name.lower()).strip("-.") or "model"
