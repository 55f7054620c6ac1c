"""Text towers without the vocabulary of languages that they do not serve.

Most of an XLM-R's weights are the rows of its embedding, one for each of 250,002 pieces of text in a hundred
languages. A piece is dropped here only when it has a letter or a mark that none of the given languages
writes. A Unigram tokenizer cuts a text into pieces that occur in it, so a text in the letters of those
languages, with any digits, punctuation, symbols and emoji, is cut into the same pieces as before, and keeps
its vector. Other letters become <unk>.

Letters are those of the text as the tokenizer normalises it: where it makes "TM" of ™ and "°C" of ℃, these
are letters like others, of English for one.
"""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from tokenizers import Tokenizer

from export.alphabets import alphabet, emoji_letters, is_letter
from models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# SentencePiece's notation of what is no text: <s>, <mask>, <extra_id_0>, and the bytes <0x00> to <0xFF>.
CONTROL = re.compile(r"<[^<>\s]+>")


class VocabularyError(Exception):
    """The tokenizer cannot be trimmed: it is of another kind, or not sound in itself."""


@dataclass(frozen=True)
class Trimmed:
    """A tokenizer with fewer pieces, and what became of the ids.

    Row i of the new embedding is row kept[i] of the old one: `embedding.weight[kept]`. `kept` ascends, and
    leaves out rows beyond the old tokenizer's size. `moved` is {old id: new id} of the special tokens whose
    ids changed, for a model that knows them by id; XLM-R's, but for <mask>, stand first and keep theirs.
    """

    tokenizer: Tokenizer
    kept: list[int]
    moved: dict[int, int]


def trim(tokenizer: Tokenizer, languages: Sequence[str]) -> Trimmed:
    """The tokenizer with only the pieces that texts in the languages can be cut into.

    Special tokens stay, and so do pieces without letters. `languages` are BCP 47 codes, see
    `export.alphabets.alphabet`; en belongs to most lists, for names and units in Latin letters are in the
    texts of every language.

    Raises:
        ValueError: a language is unknown, or none is given.
        VocabularyError: the tokenizer is no Unigram, has no unknown token, or names an id that it lacks.
    """
    if not languages:
        raise ValueError("trimming needs at least one language")
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    if model["type"] != "Unigram":
        raise VocabularyError(
            f"only Unigram tokenizers, such as XLM-R's, can be trimmed, and this one is {model['type']}"
        )
    if model["unk_id"] is None:
        raise VocabularyError("this tokenizer has no unknown token, so a dropped letter would be an error")
    vocab: list[tuple[str, float]] = model["vocab"]
    added = [token["id"] for token in document["added_tokens"]]
    outside = sorted({i for i in added if i >= len(vocab)})  # added tokens that the model has no piece for
    places = list(_id_places(document))
    special = {container[key] for container, key in places}
    unknown = special - set(range(len(vocab))) - set(outside)
    if unknown:
        raise VocabularyError(f"this tokenizer names the token id {min(unknown)}, which it does not have")

    kept = [*_kept_pieces(vocab, special, _letters(tokenizer, languages)), *outside]
    new_ids = {old: new for new, old in enumerate(kept)}
    model["vocab"] = [vocab[i] for i in kept if i < len(vocab)]
    for container, key in places:
        container[key] = new_ids[container[key]]
    moved = {old: new_ids[old] for old in sorted(special) if new_ids[old] != old}
    return Trimmed(Tokenizer.from_str(json.dumps(document, ensure_ascii=False)), kept, moved)


def trim_checkpoint(loaded: Checkpoint, languages: Sequence[str]) -> tuple[Checkpoint, dict[str, int]]:
    """The checkpoint without the tokens that no listed language needs, and the sizes before and after.

    The embedding of its model is replaced in place.

    Raises:
        VocabularyError: a language is unknown, or the tokenizer cannot be trimmed.
    """
    pad_id = loaded.model.config.text.pad_id
    try:
        trimmed = trim(loaded.tokenizer, languages)
    except ValueError as error:
        raise VocabularyError(f"--languages: {error}") from error
    if pad_id in trimmed.moved:
        raise VocabularyError("the padding token of this tokenizer does not come before its pieces")
    encoder = cast("PreTrainedModel", loaded.model.text.encoder)
    table = cast(torch.nn.Embedding, encoder.get_input_embeddings())
    rows = table.weight.detach()
    encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(rows[trimmed.kept], padding_idx=pad_id))
    sizes = {"all": len(rows), "kept": len(trimmed.kept)}
    return dataclasses.replace(loaded, tokenizer=trimmed.tokenizer), sizes


def _letters(tokenizer: Tokenizer, languages: Sequence[str]) -> set[str]:
    """Letters and marks of normalised texts in the languages."""
    letters = set(emoji_letters())
    for language in languages:
        letters |= alphabet(language)
    if tokenizer.normalizer is not None:
        letters |= set("".join(map(tokenizer.normalizer.normalize_str, letters)))
    return letters


def _kept_pieces(vocab: list[tuple[str, float]], special: Collection[int], letters: set[str]) -> list[int]:
    """Ids of the model's pieces that stay, ascending."""
    foreign = {char for char in set("".join(piece for piece, _ in vocab)) - letters if is_letter(char)}
    kept = [
        i
        for i, (piece, _) in enumerate(vocab)
        if foreign.isdisjoint(piece) or i in special or CONTROL.fullmatch(piece)
    ]
    # What <unk> costs is reckoned from the smallest score in the vocabulary: if that changed, texts with an
    # unknown emoji could be cut differently.
    scores = [score for _, score in vocab]
    smallest = min(scores)
    if smallest < min(scores[i] for i in kept):
        kept = sorted([*kept, scores.index(smallest)])
    return kept


def _id_places(document: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where a tokenizer's JSON names ids of tokens: containers and the keys in them."""
    yield document["model"], "unk_id"
    for token in document["added_tokens"]:
        yield token, "id"
    if document["padding"] is not None:
        yield document["padding"], "pad_id"
    if document["post_processor"] is not None:
        yield from _processor_places(document["post_processor"])


def _processor_places(processor: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    match processor["type"]:  # the one kind that is not here, ByteLevel, names no tokens
        case "TemplateProcessing":
            for token in processor["special_tokens"].values():
                yield from ((token["ids"], i) for i in range(len(token["ids"])))
        case "RobertaProcessing" | "BertProcessing":
            yield from ((processor["sep"], 1), (processor["cls"], 1))
        case "Sequence":
            for part in processor["processors"]:
                yield from _processor_places(part)
