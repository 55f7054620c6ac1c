"""The tokenizer of a folder: tokenizer.json, or what older versions of transformers wrote in its place."""

import json
from pathlib import Path

from tokenizers import Tokenizer

from models.files import weights
from models.files.plain_text import is_canonical, plain
from models.files.weights import CheckpointError, check_vocabulary, first_line, published_tokenizer, require

NAME, SETTINGS = "tokenizer.json", "tokenizer_config.json"
SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
OLDER = (*SENTENCEPIECE, "vocab.json", "merges.txt", "vocab.txt")


def files_of(folder: Path) -> list[Path]:
    """The files that say which tokens a text has; tokenizer.json alone where it is.

    Raises:
        CheckpointError: there are none.
    """
    if (folder / NAME).exists():
        return [folder / NAME]
    # Of these the special tokens are told elsewhere.
    older = [*OLDER, SETTINGS, "special_tokens_map.json", "added_tokens.json"]
    found = [folder / name for name in older if (folder / name).exists()]
    if not any(path.name in OLDER for path in found):
        raise CheckpointError(f"{folder}: {NAME} is missing")
    return found


def read(folder: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer, whose ids the text model has a row for, reading any text as text.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    return plain(published(folder, vocabulary))


def text_rule(folder: Path) -> str:
    """What `read` does to texts before the tokenizer's own rules: "NFC", or "" for nothing.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    if (folder / NAME).exists():
        return weights.text_rule(folder / NAME)
    normalizer = json.loads(_converted(folder, files_of(folder)).to_str())["normalizer"]
    return "" if is_canonical(normalizer) else "NFC"


def published(folder: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer as it stands, with control tokens by their names.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    files = files_of(folder)
    if files[0].name == NAME:
        return published_tokenizer(files[0], vocabulary)
    tokenizer = _converted(folder, files)
    check_vocabulary(files[0], tokenizer, vocabulary)
    return tokenizer


def _converted(folder: Path, files: list[Path]) -> Tokenizer:
    """What transformers makes of the older files."""
    for path in files:
        require(path)
    from transformers import AutoTokenizer

    try:
        found: Tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ).backend_tokenizer
    except Exception as error:  # transformers raises many kinds
        hint = ""
        if files[0].name in SENTENCEPIECE:
            hint = (
                "; with the package sentencepiece, AutoTokenizer.from_pretrained and save_pretrained write it"
            )
        raise CheckpointError(
            f"{folder}: {NAME} is missing, and {files[0].name} cannot be read in its place"
            f"{hint or f': {first_line(error)}'}"
        ) from error
    return found
