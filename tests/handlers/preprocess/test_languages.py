"""Languages by BCP 47 and by NLLB's codes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

from handlers.preprocess.languages import LanguageTokens

ALL = LanguageTokens("eng_Latn", {code: number for number, code in enumerate(FAIRSEQ_LANGUAGE_CODES)})


def code_of(tag: str) -> str | None:
    token = ALL.token(tag)
    return None if token is None else FAIRSEQ_LANGUAGE_CODES[token]


def test_every_language_has_a_tag_of_its_own() -> None:
    """What a refusal lists is accepted, and means one language of NLLB's each."""
    tags = ALL.tags()
    assert len(set(tags)) == len(FAIRSEQ_LANGUAGE_CODES) == 202
    assert sorted(str(code_of(tag)) for tag in tags) == sorted(FAIRSEQ_LANGUAGE_CODES)
    assert {"bn", "en", "zh", "zh-Hant", "sw", "ace", "ace-Arab", "ks-Deva", "yue"} <= set(tags)


@pytest.mark.parametrize("code", FAIRSEQ_LANGUAGE_CODES)
def test_nllbs_own_code_is_understood(code: str) -> None:
    """Who knows the model's codes may send them, in any case, with a hyphen as BCP 47 has it."""
    assert code_of(code) == code_of(code.replace("_", "-").upper()) == code


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("bn", "ben_Beng"),
        ("bn-BD", "ben_Beng"),
        ("BN_in", "ben_Beng"),
        ("pt-BR", "por_Latn"),
        ("sr", "srp_Cyrl"),
        ("zh", "zho_Hans"),
        ("zh-CN", "zho_Hans"),
        ("zh-TW", "zho_Hant"),
        ("zh-hant-HK", "zho_Hant"),
        ("zh-yue", "yue_Hant"),
        ("zho", "zho_Hans"),
        ("fil", "tgl_Latn"),
        ("no", "nob_Latn"),
        ("arz", "arz_Arab"),
        ("ar-EG", "arb_Arab"),
        ("sl-rozaj-biske", "slv_Latn"),
        ("tlh", None),
        ("sr-Latn", None),
        ("english", None),
        ("", None),
        ("bn ", None),
        ("-", None),
        ("b", None),
        ("ベンガル", None),
    ],
)
def test_tags_as_programs_send_them(tag: str, code: str | None) -> None:
    """Regions and variants are passed over, scripts and the region of Chinese are not; nothing is guessed."""
    assert code_of(tag) == code


def test_a_refusal_says_what_is_allowed_and_what_is_meant_without() -> None:
    """Whoever reads it can send the right one at once; what was sent is shown in bounds."""
    said = ALL.refusal("x" * 500)
    assert "x" * 35 + "…" in said
    assert "x" * 36 not in said
    assert "leave it out for en" in said
    assert " zh-Hant, " in said


def test_a_default_without_a_token_is_no_default() -> None:
    """An archive that was put together wrongly does not load."""
    with pytest.raises(ValueError, match="'fra_Latn' has no token"):
        LanguageTokens("fra_Latn", {"eng_Latn": 4})


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_text_is_a_tag_or_none(text: str) -> None:
    """What comes from outside never raises."""
    token = ALL.token(text)
    assert token is None or 0 <= token < 202
    assert ALL.refusal(text)
