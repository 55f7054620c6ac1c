"""Tokenizers read what a caller writes as text, and canonically equal texts as one, in every family."""

import functools
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from benchmarks.support import vocabularies
from export import golden
from export.vocabulary import trim
from models import checkpoint
from models.files import image_processor, weights
from models.files.plain_text import is_canonical, plain, unknown_id
from models.loaders import huggingface
from tests.places import MINI
from tests.systems import families

NFD_TEXTS = ["tiếng Việt", "한국어 사전", "Ångström", "বাড়ি", "क़लम", "மொழி", "لّٰه", "שָׁלוֹם"]


def xlm_r() -> Tokenizer:
    """Unigram, with the pieces of its control tokens at the best score of all, as XLM-R's file has them."""
    made = vocabularies.tokenizer(vocabularies.SMALL_VOCABULARY, *vocabularies.ROBERTA_MARKERS)
    made.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return made


def clip() -> Tokenizer:
    """Byte-level BPE whose end of a text is its unknown token too, as in CLIP's published file."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>")]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges)]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, *vocabularies.CLIP_MARKERS])}
    first, last = vocabularies.CLIP_MARKERS
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token=last, end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.add_special_tokens([AddedToken(marker, normalized=True) for marker in vocabularies.CLIP_MARKERS])
    made.post_processor = processors.BertProcessing((last, vocabulary[last]), (first, vocabulary[first]))
    return made


def gemma() -> Tokenizer:
    """As SigLIP 2's: bytes for what it does not know, and added tokens that are not special."""
    made = vocabularies.gemma_tokenizer(8_000)
    ordinary = ("<unused7>", "<start_of_turn>", "[@BOS@]", "<s>", "\n\n")
    made.add_tokens([AddedToken(content, special=False, normalized=False) for content in ordinary])
    return made


def bert() -> Tokenizer:
    """WordPiece with case and accents, as multilingual BERT's."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(
        {char for text in golden.TEXTS.values() for char in text if not char.isspace()} | {*"[]<>"}
    )
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters)]
    made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(marks)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def words() -> Tokenizer:
    """Whole words, whose post-processor alone knows the control tokens."""
    made = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "red": 3}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


def mini() -> Tokenizer:
    return Tokenizer.from_file(str(MINI / "tokenizer.json"))


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    made.__name__: made for made in (mini, xlm_r, clip, gemma, bert, words)
}
CONTROL = {
    "mini": ("<s>", "</s>", "<pad>"),
    "xlm_r": ("<s>", "</s>", "<pad>", "<mask>"),
    "clip": ("<|startoftext|>", "<|endoftext|>"),
    "gemma": ("<eos>", "<bos>", "<pad>", "<mask>", "<unused7>", "<start_of_turn>", "[@BOS@]"),
    "bert": ("[CLS]", "[SEP]", "[MASK]", "[PAD]"),
    "words": ("<s>", "</s>"),
}


@functools.cache
def published(family: str) -> Tokenizer:
    return FAMILIES[family]()


@functools.cache
def read_plainly(family: str) -> Tokenizer:
    return plain(published(family))


def content(family: str, text: str) -> list[int]:
    """Token ids of a text without what is put around it."""
    found: list[int] = read_plainly(family).encode(text, add_special_tokens=False).ids
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_in_a_text_are_text(family: str) -> None:
    """A caller's <s> or [SEP] neither ends the text nor becomes a vector that the model never learned."""
    ids = {published(family).token_to_id(token) for token in CONTROL[family]}
    assert None not in ids
    for token in CONTROL[family]:
        for text in (token, f"price {token}9{token} euro", f"cat {token} cat", token * 2):
            assert ids.isdisjoint(content(family, text)), (token, text)


@given(st.data())
def test_no_text_reaches_a_control_token(data: st.DataObject) -> None:
    """Whatever stands around and within its name."""
    family = data.draw(st.sampled_from(sorted(FAMILIES)))
    pieces = st.sampled_from([*CONTROL[family], " ", "cat", "<", ">", "["]) | st.text(max_size=4)
    text = "".join(data.draw(st.lists(pieces, max_size=8)))
    ids = {published(family).token_to_id(token) for token in CONTROL[family]}
    assert ids.isdisjoint(content(family, text)), text


@pytest.mark.parametrize("family", FAMILIES)
def test_other_texts_are_cut_as_the_original_cuts_them(family: str) -> None:
    """The reference's vectors stay exact: same ids, marks around the text and number of tokens."""
    before, after = published(family), read_plainly(family)
    for text in golden.TEXTS.values():
        assert after.encode(text).ids == before.encode(text).ids
    assert after.get_vocab_size() == before.get_vocab_size()
    for number in range(0, before.get_vocab_size(), 997):
        token = after.id_to_token(number)
        assert token is not None
        assert token.partition(" \uffff")[0] == before.id_to_token(number)
    assert plain(after).to_str() == after.to_str()


def test_added_tokens_for_markup_and_white_space_stay() -> None:
    """Gemma was trained with texts that hold them, and its <s> is struck-through text."""
    assert published("gemma").token_to_id("<s>") in content("gemma", "price <s>9")
    assert published("gemma").token_to_id("\n\n") in content("gemma", "two\n\nlines")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", NFD_TEXTS)
def test_canonically_equal_texts_are_one(family: str, text: str) -> None:
    """A file name of macOS and the same word from a keyboard have one vector."""
    forms = {tuple(content(family, unicodedata.normalize(form, text))) for form in ("NFC", "NFD")}
    assert forms == {tuple(content(family, text))}


marked = st.text(st.characters(categories=["Lo", "Lu", "Ll", "Mn", "Mc"]), max_size=12)


@given(st.sampled_from(sorted(FAMILIES)), st.one_of(st.text(max_size=12), marked))
def test_any_canonically_equal_texts_are_one(family: str, text: str) -> None:
    """Whatever the letters and marks, and in whatever order the marks were typed."""
    assert content(family, unicodedata.normalize("NFD", text)) == content(family, text)


@pytest.mark.parametrize(
    ("family", "number"),
    [("mini", 3), ("xlm_r", 3), ("clip", None), ("gemma", None), ("bert", 1), ("words", 2)],
)
def test_the_unknown_token_is_found_where_texts_can_have_it(family: str, number: int | None) -> None:
    """What spells unknown letters in bytes has none, though its file names one; in CLIP's it is the end."""
    assert unknown_id(read_plainly(family)) == number
    assert unknown_id(trim(read_plainly("mini"), ["en"]).tokenizer) == 3


@pytest.mark.parametrize(
    ("normalizer", "canonical"),
    [
        (None, False),
        (normalizers.NFKC(), True),
        (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), True),
        (normalizers.Sequence([normalizers.Lowercase(), normalizers.NFC()]), False),
        (normalizers.Sequence([]), False),
        (normalizers.BertNormalizer(lowercase=True), True),
        (normalizers.BertNormalizer(lowercase=False), False),
        (normalizers.BertNormalizer(lowercase=True, strip_accents=False), False),
    ],
)
def test_what_counts_as_canonical(normalizer: normalizers.Normalizer | None, canonical: bool) -> None:
    """NFC is added, and told by the space, exactly where a file does not see to it."""
    told = None if normalizer is None else json.loads(normalizer.__getstate__())
    assert is_canonical(told) == canonical


def test_the_space_tells_of_nfc(tmp_path: Path) -> None:
    """Vectors of texts that are not in NFC change with it, so they have another space; others keep theirs."""
    families.clip(tmp_path, true=False)
    path = tmp_path / "tokenizer.json"
    assert weights.text_rule(path) == ""
    files = [
        tmp_path / "config.json",
        image_processor.file_of(tmp_path),
        path,
        *huggingface.weights_of(tmp_path),
    ]
    assert huggingface.space_of(tmp_path) == weights.fingerprint(files)
    changed = Tokenizer.from_file(str(path))
    changed.normalizer = normalizers.Lowercase()
    changed.save(str(path))
    assert weights.text_rule(path) == "NFC"
    assert huggingface.space_of(tmp_path) != weights.fingerprint(files)


def test_the_committed_model_keeps_its_space_and_its_file() -> None:
    """Nothing of what it embeds changes but texts that name its control tokens."""
    loaded = checkpoint.load(MINI)
    assert loaded.meta["space"] == json.loads((MINI / "meta.json").read_text(encoding="utf-8"))["space"]
    assert loaded.tokenizer.to_str() == read_plainly("mini").to_str()


def test_a_trimmed_vocabulary_keeps_control_tokens_text() -> None:
    """Dropping the pieces of other languages does not bring them back."""
    trimmed = trim(read_plainly("mini"), ["en"])
    ids = trimmed.tokenizer.encode("price <s>9</s> euro").ids
    assert (ids[0], ids[-1]) == (0, 2)
    assert not {0, 1, 2} & set(ids[1:-1])
