"""Trimmed vocabularies: the same pieces for the languages that stay, and consistent ids."""

import functools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from export import golden
from export.alphabets import alphabet, emoji_letters, is_letter
from export.vocabulary import Trimmed, VocabularyError, trim
from tests.places import MINI

LANGUAGES = ("en", "de", "ru", "ar", "hi", "ja", "th", "ko", "zh", "tr", "vi", "el", "he")
SIGNS = sorted("▁  .,:;!?¿«»“”()%€$+−×°0123456789٣४🍎🐕🇩🇪👩🏽‍🚀❤️1️⃣Ⓜ️™㊙️🫨🜁")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


@functools.cache
def mini() -> Tokenizer:
    return Tokenizer.from_file(str(MINI / "tokenizer.json"))


@functools.cache
def trimmed(*languages: str) -> Trimmed:
    return trim(mini(), languages)


def small(pieces: dict[str, float], **changes: Any) -> Tokenizer:
    """A Unigram tokenizer of XLM-R's special tokens and some pieces; `changes` are of its JSON."""
    tokenizer = Tokenizer(models.Unigram([*((token, 0.0) for token in SPECIAL), *pieces.items()], unk_id=3))
    document = json.loads(tokenizer.to_str())
    document["model"] |= changes.pop("model", {})
    return Tokenizer.from_str(json.dumps(document | changes))


def added(token_id: int, content: str) -> dict[str, Any]:
    """An entry of added_tokens in a tokenizer's JSON."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, "special": True, **flags}


@functools.cache
def drawn_texts(language: str) -> st.SearchStrategy[str]:
    """Texts of a language's letters and of signs."""
    letters = st.sampled_from(sorted(alphabet(language) | emoji_letters()))
    return st.text(letters | letters | st.sampled_from(SIGNS), max_size=30)


@pytest.mark.parametrize("language", LANGUAGES)
def test_golden_texts_keep_their_pieces(language: str) -> None:
    """Protects vectors of the languages that a service names, alone and among others."""
    texts = [text for name, text in golden.TEXTS.items() if name.split("-")[0] in (language, "emoji")]
    for languages in ((language,), LANGUAGES):
        for text in texts:
            assert trimmed(*languages).tokenizer.encode(text).tokens == mini().encode(text).tokens


@given(st.sampled_from(LANGUAGES), st.data())
@settings(deadline=None)  # the first text in a language waits for its tokenizer
def test_any_text_in_the_alphabet_keeps_its_pieces(language: str, data: st.DataObject) -> None:
    """Protects the promise that dropping pieces changes nothing for texts in a language's letters."""
    result = trimmed(language)
    letters = alphabet(language) | emoji_letters()
    normalised = mini().normalizer.normalize_str(data.draw(drawn_texts(language)))
    # A letter and a mark of the alphabet may have become one letter that is not in it.
    text = "".join(char if char in letters or not is_letter(char) else " " for char in normalised)
    before, after = mini().encode(text), result.tokenizer.encode(text)
    assert after.tokens == before.tokens
    assert [result.kept[i] for i in after.ids] == before.ids


@pytest.mark.parametrize("name", ["ru", "ka", "th", "am", "zh"])
def test_letters_of_dropped_languages_are_unknown(name: str) -> None:
    """Protects from texts in other languages getting vectors that look as if they were understood."""
    tokenizer = trimmed("en").tokenizer
    pieces = {tokenizer.id_to_token(i) for i in tokenizer.encode(golden.TEXTS[name]).ids}
    assert pieces - {"<s>", "</s>", "▁"} == {"<unk>"}


@pytest.mark.parametrize("languages", [("en",), ("ja", "ko"), LANGUAGES])
def test_ids_lead_to_the_rows_of_their_pieces(languages: tuple[str, ...]) -> None:
    """Protects the embedding: row i of the new one must be the row of the same piece in the old one."""
    result = trimmed(*languages)
    assert result.kept == sorted(set(result.kept))
    assert result.tokenizer.get_vocab_size() == len(result.kept) < mini().get_vocab_size()
    new = [result.tokenizer.id_to_token(i) for i in range(len(result.kept))]
    assert new == [mini().id_to_token(i) for i in result.kept]


def test_fewer_languages_need_fewer_pieces() -> None:
    """Protects the point of it: what languages do not write is gone."""
    counts = [len(trimmed(*languages).kept) for languages in (("en",), ("en", "ru"), LANGUAGES)]
    assert counts == sorted(counts)
    assert counts[0] < 0.4 * mini().get_vocab_size()
    assert set(trimmed("en").kept) < set(trimmed("en", "ru").kept)


def test_special_tokens_padding_and_truncation_stay() -> None:
    """Protects the frame of a text: where a model looks for its beginning, its end and its padding."""
    tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    result = trim(tokenizer, ["ru"])
    long, short = result.tokenizer.encode_batch([golden.TEXTS["ru"], "а"])
    assert (len(long.ids), long.ids[0], long.ids[-1]) == (6, 0, 2)
    assert short.ids[-1] == 1
    assert result.kept[:4] == [0, 1, 2, 3]
    assert result.moved == {}


TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"x": {"id": "x", "ids": [0, 8], "tokens": ["<s>", "[end]"]}},
}
ROBERTA = {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False}
ENDS = {"sep": ["[end]", 8], "cls": ["<s>", 0]}


@pytest.mark.parametrize(
    ("processor", "ids"),
    [
        (TEMPLATE, [0, 6, 4]),
        ({**ROBERTA, **ENDS}, [0, 4, 6]),
        ({"type": "BertProcessing", **ENDS}, [0, 4, 6]),
        ({"type": "Sequence", "processors": [TEMPLATE]}, [0, 6, 4]),
    ],
)
def test_special_tokens_that_move_are_followed(processor: dict[str, Any], ids: list[int]) -> None:
    """Protects tokenizers whose special tokens stand behind dropped pieces, and those who must know of it."""
    pieces = {"a": -1.0, "ж": -2.0, "жа": -2.5, "b": -3.0, "[end]": 0.0}
    padding: dict[str, Any] = {"strategy": {"Fixed": 4}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 8, "pad_type_id": 0, "pad_token": "[end]"}
    result = trim(
        small(pieces, post_processor=processor, padding=padding, added_tokens=[added(0, "<s>")]), ["en"]
    )
    assert result.kept == [0, 1, 2, 3, 4, 7, 8]
    assert result.moved == {8: 6}
    assert result.tokenizer.encode("a").ids == [*ids, 6]


def test_added_tokens_outside_the_model_stay() -> None:
    """Protects tokens that a tokenizer was given after training: they have ids behind the model's pieces."""
    old = small({"a": -2.0, "ж": -1.0}, added_tokens=[added(6, "[new]"), added(7, "[жж]")])
    result = trim(old, ["en"])
    assert result.kept == [0, 1, 2, 3, 4, 6, 7]
    assert result.moved == {6: 5, 7: 6}
    text = "a[new]a[жж]"
    assert [result.kept[i] for i in result.tokenizer.encode(text).ids] == old.encode(text).ids == [4, 6, 4, 7]


def test_the_cost_of_an_unknown_character_stays() -> None:
    """Protects texts with an unknown emoji, whose cost is reckoned from the smallest score of all pieces."""
    old = small({"a": -1.0, "🍎a": -20.0, "🍎": -9.0, "ж": -40.0, "зж": -40.0})
    result = trim(old, ["en"])
    assert result.kept == [0, 1, 2, 3, 4, 5, 6, 7]
    alike = {"a": -1.0, "ж": -40.0, "b": -40.0}
    assert trim(small(alike), ["en"]).kept == [0, 1, 2, 3, 4, 6]


def test_bytes_and_control_pieces_stay() -> None:
    """Protects byte fallback and the special tokens that only the model's configuration knows of."""
    pieces = {f"<0x{byte:02X}>": -5.0 for byte in range(256)} | {"ж": -1.0, "<mask>": 0.0}
    result = trim(small(pieces, model={"byte_fallback": True}), ["th"])
    assert result.kept == [i for i in range(262) if i != 260]
    assert result.tokenizer.encode("ж").tokens == ["<0xD0>", "<0xB6>"]


def test_other_tokenizers_are_refused() -> None:
    """Protects tokenizers that build pieces from pieces: dropping some would change how texts are cut."""
    with pytest.raises(VocabularyError, match=r"only Unigram tokenizers.* this one is BPE"):
        trim(Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])), ["en"])


def test_a_tokenizer_without_an_unknown_token_is_refused() -> None:
    """Protects from a tokenizer that fails at the first foreign letter."""
    with pytest.raises(VocabularyError, match="no unknown token"):
        trim(Tokenizer(models.Unigram([("a", -1.0)])), ["en"])


def test_an_id_that_is_no_token_is_refused() -> None:
    """Protects from a padding id that would silently become another token's."""
    tokenizer = small({"a": -1.0})
    tokenizer.enable_padding(pad_id=77)
    with pytest.raises(VocabularyError, match="id 77"):
        trim(tokenizer, ["en"])


def test_languages_must_be_known() -> None:
    """Protects from a misspelt language, whose pieces would all be gone, and from an empty list."""
    with pytest.raises(ValueError, match="'deu'"):
        trim(mini(), ["en", "deu"])
    with pytest.raises(ValueError, match="at least one"):
        trim(mini(), [])
