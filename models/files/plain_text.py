"""A tokenizer that reads whatever a caller writes as text, and canonically equal texts as one.

Two things keep a tokenizer.json as published from that. Its control tokens (<s>, [MASK], <|endoftext|>) are
found in texts too, where they end the text for the model or stand for nothing it knows. And unless its
normaliser begins with a canonical form, é as one character and as two are cut into different tokens.

Checkpoints keep their file; what is trained, measured and exported with is this reading of it, so the
tokenizer.json of an archive has it already. docs/decisions/0008-texts-are-text.md has the reasons.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

# What follows a control token's name where it is stored: a space, at which texts are cut before they are
# looked up, and a code point that is no character.
UNWRITABLE = " \uffff"
# How control tokens are written that a file does not call special: <mask>, <unused7>, <|im_end|>, [@BOS@].
NOTATION = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
# Gemma has tokens for these, made for texts with markup in them; its <s> is struck-through text.
MARKUP = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|ul|ol|li|p|br|hr|div|span|a|img|pre|"
    r"strong|em|b|i|u|s|sub|sup|code)>"
)

# Letters of old scripts, which few tokenizers know and none all of.
RARE = ("𓀀", "𒀀", "ꙮ", "𐤀", "\U00016a40")


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer for which control tokens in a text are text, and which begins with NFC.

    Ids, their number and what is put around a text stay. A text in NFC without control tokens is cut as
    before. The names of control tokens are no longer theirs: look ids up before.
    """
    document = json.loads(tokenizer.to_str())
    names = {name: name + UNWRITABLE for name in _control_tokens(document) if UNWRITABLE not in name}
    if not names and is_canonical(document["normalizer"]):
        return tokenizer
    _rename(document, names)
    if not is_canonical(document["normalizer"]):
        document["normalizer"] = _after_nfc(document["normalizer"])
    return Tokenizer.from_str(json.dumps(document, ensure_ascii=False))


def is_canonical(normalizer: dict[str, Any] | None) -> bool:
    """Whether a tokenizer's normaliser, as in its JSON, makes canonically equal texts one.

    SentencePiece's own (`Precompiled`) is not among those that do: as the tokenizers library runs it, most
    letters of more than one mark, and Korean, stay decomposed.
    """
    match normalizer:
        case {"type": "NFC" | "NFD" | "NFKC" | "NFKD"}:
            return True
        case {"type": "Sequence", "normalizers": [first, *_]}:
            return is_canonical(first)
        case {"type": "BertNormalizer", "strip_accents": stripped, "lowercase": lowered}:
            # It takes accents off decomposed letters, unless told otherwise where it lowercases.
            return bool(lowered if stripped is None else stripped)
        case _:
            return False


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The token of every letter that a tokenizer does not know; None where it spells them in bytes."""
    model = json.loads(tokenizer.to_str())["model"]
    named = model["unk_id"] if model["type"] == "Unigram" else model["vocab"].get(model["unk_token"])
    met = [tokenizer.encode(letter, add_special_tokens=False).ids for letter in RARE]
    return named if any(named in ids for ids in met) else None


def _after_nfc(normalizer: dict[str, Any] | None) -> dict[str, Any]:
    rest = [] if normalizer is None else [normalizer]
    if normalizer is not None and normalizer["type"] == "Sequence":
        rest = normalizer["normalizers"]
    return {"type": "Sequence", "normalizers": [{"type": "NFC"}, *rest]}


def _control_tokens(document: dict[str, Any]) -> set[str]:
    """The names of tokens that are no text: special ones, those around a text, and the unknown one."""
    model = document["model"]
    found = {token["content"] for token in document["added_tokens"] if _is_control(token)}
    if document["post_processor"] is not None:
        found.update(_around(document["post_processor"]))
    if model["type"] == "Unigram":
        if model["unk_id"] is not None:
            found.add(model["vocab"][model["unk_id"]][0])
    elif model["unk_token"] is not None:
        found.add(model["unk_token"])
    return found


def _is_control(token: dict[str, Any]) -> bool:
    content = token["content"]
    return token["special"] or bool(NOTATION.fullmatch(content) and not MARKUP.fullmatch(content))


def _around(processor: dict[str, Any]) -> Iterator[str]:
    """The names of the tokens that a post-processor puts around a text."""
    match processor["type"]:  # the one kind that is not here, ByteLevel, puts none
        case "TemplateProcessing":
            for token in processor["special_tokens"].values():
                yield from token["tokens"]
        case "RobertaProcessing" | "BertProcessing":
            yield from (processor["sep"][0], processor["cls"][0])
        case "Sequence":
            for part in processor["processors"]:
                yield from _around(part)


def _rename(document: dict[str, Any], names: dict[str, str]) -> None:
    """Give tokens other names wherever a text is looked up; those that a post-processor shows stay."""
    for token in document["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = document["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        return
    model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if model["type"] == "BPE":
        # Letters must not merge into one either.
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if names.keys().isdisjoint((left, right, left + right))
        ]
