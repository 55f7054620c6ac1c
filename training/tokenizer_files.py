"""The tokenizer of a folder: tokenizer.json, or what older versions of transformers wrote in its place."""

from pathlib import Path

from tokenizers import Tokenizer

from training.source_files import CheckpointError, check_vocabulary, first_line, read_tokenizer, require

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
    """The tokenizer, whose ids the text model has a row for.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    files = [require(path) for path in files_of(folder)]
    if files[0].name == NAME:
        return read_tokenizer(files[0], vocabulary)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
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
    check_vocabulary(files[0], tokenizer, vocabulary)
    found: Tokenizer = tokenizer
    return found
