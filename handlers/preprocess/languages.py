"""The language of a text: as callers name it, by BCP 47, and as a tower is told it, by a token of its own.

Towers on NLLB's text encoder read a token such as `ben_Beng` (ISO 639-3, a script) beside every text. Of the
tags that callers send, the language, the script and, for Chinese, the region count; all else is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TAG = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII)
_SHOWN = 35  # characters of a tag that a message repeats: those of the longest that RFC 5646 thinks of

# What a language is in NLLB's codes where no script is named: ISO 639-1, and what has several scripts.
# fmt: off
_CODES = {
    "af": "afr_Latn", "ak": "aka_Latn", "am": "amh_Ethi", "ar": "arb_Arab", "as": "asm_Beng",
    "ay": "ayr_Latn", "az": "azj_Latn", "ba": "bak_Cyrl", "be": "bel_Cyrl", "bg": "bul_Cyrl",
    "bm": "bam_Latn", "bn": "ben_Beng", "bo": "bod_Tibt", "bs": "bos_Latn", "ca": "cat_Latn",
    "cs": "ces_Latn", "cy": "cym_Latn", "da": "dan_Latn", "de": "deu_Latn", "dz": "dzo_Tibt",
    "ee": "ewe_Latn", "el": "ell_Grek", "en": "eng_Latn", "eo": "epo_Latn", "es": "spa_Latn",
    "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "ff": "fuv_Latn", "fi": "fin_Latn",
    "fj": "fij_Latn", "fo": "fao_Latn", "fr": "fra_Latn", "ga": "gle_Latn", "gd": "gla_Latn",
    "gl": "glg_Latn", "gn": "grn_Latn", "gu": "guj_Gujr", "ha": "hau_Latn", "he": "heb_Hebr",
    "hi": "hin_Deva", "hr": "hrv_Latn", "ht": "hat_Latn", "hu": "hun_Latn", "hy": "hye_Armn",
    "id": "ind_Latn", "ig": "ibo_Latn", "is": "isl_Latn", "it": "ita_Latn", "ja": "jpn_Jpan",
    "jv": "jav_Latn", "ka": "kat_Geor", "kg": "kon_Latn", "ki": "kik_Latn", "kk": "kaz_Cyrl",
    "km": "khm_Khmr", "kn": "kan_Knda", "ko": "kor_Hang", "kr": "knc_Latn", "ks": "kas_Arab",
    "ku": "kmr_Latn", "ky": "kir_Cyrl", "lb": "ltz_Latn", "lg": "lug_Latn", "li": "lim_Latn",
    "ln": "lin_Latn", "lo": "lao_Laoo", "lt": "lit_Latn", "lv": "lvs_Latn", "mg": "plt_Latn",
    "mi": "mri_Latn", "mk": "mkd_Cyrl", "ml": "mal_Mlym", "mn": "khk_Cyrl", "mr": "mar_Deva",
    "ms": "zsm_Latn", "mt": "mlt_Latn", "my": "mya_Mymr", "nb": "nob_Latn", "ne": "npi_Deva",
    "nl": "nld_Latn", "nn": "nno_Latn", "ny": "nya_Latn", "oc": "oci_Latn", "om": "gaz_Latn",
    "or": "ory_Orya", "pa": "pan_Guru", "pl": "pol_Latn", "ps": "pbt_Arab", "pt": "por_Latn",
    "qu": "quy_Latn", "rn": "run_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "rw": "kin_Latn",
    "sa": "san_Deva", "sc": "srd_Latn", "sd": "snd_Arab", "sg": "sag_Latn", "si": "sin_Sinh",
    "sk": "slk_Latn", "sl": "slv_Latn", "sm": "smo_Latn", "sn": "sna_Latn", "so": "som_Latn",
    "sq": "als_Latn", "sr": "srp_Cyrl", "ss": "ssw_Latn", "st": "sot_Latn", "su": "sun_Latn",
    "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "tg": "tgk_Cyrl",
    "th": "tha_Thai", "ti": "tir_Ethi", "tk": "tuk_Latn", "tl": "tgl_Latn", "tn": "tsn_Latn",
    "tr": "tur_Latn", "ts": "tso_Latn", "tt": "tat_Cyrl", "tw": "twi_Latn", "ug": "uig_Arab",
    "uk": "ukr_Cyrl", "ur": "urd_Arab", "uz": "uzn_Latn", "vi": "vie_Latn", "wo": "wol_Latn",
    "xh": "xho_Latn", "yi": "ydd_Hebr", "yo": "yor_Latn", "zh": "zho_Hans", "zu": "zul_Latn",
    "ace": "ace_Latn", "bjn": "bjn_Latn", "taq": "taq_Latn",
}
# Other names of the same, which no list needs to show.
_ALIASES = {
    "fil": "tgl_Latn", "in": "ind_Latn", "iw": "heb_Hebr", "kas": "kas_Arab", "knc": "knc_Latn",
    "no": "nob_Latn", "zho": "zho_Hans",
}
# fmt: on
_TAGS = {code: language for language, code in _CODES.items()}
_BY_SCRIPT = {code.partition("_")[0]: language for language, code in _CODES.items()}
_TRADITIONAL = ("TW", "HK", "MO")


@dataclass(frozen=True)
class LanguageTokens:
    """The languages that a tower may be told, and the token that tells it each.

    Attributes:
        default: the code that stands where a caller names no language, as in the published model.
        tokens: NLLB's codes → ids of tokens.
    """

    default: str
    tokens: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.default not in self.tokens:
            raise ValueError(f"the default language {self.default!r} has no token")

    def token(self, tag: str) -> int | None:
        """The token of a language by its BCP 47 tag, or by NLLB's code; None where the tower has none."""
        code = _code(tag, self.tokens)
        return None if code is None else self.tokens.get(code)

    def tags(self) -> list[str]:
        """All languages by their shortest tags, in the order of the alphabet."""
        return sorted(_tag(code) for code in self.tokens)

    @property
    def default_tag(self) -> str:
        """The default language by its shortest tag."""
        return _tag(self.default)

    def refusal(self, tag: str) -> str:
        """What is said of a tag that has no token."""
        shown = tag if len(tag) <= _SHOWN else f"{tag[:_SHOWN]}…"
        return (
            f"the language {shown!r} is none of this model's; leave it out for {self.default_tag}, or send "
            f"one of {', '.join(self.tags())}"
        )


def _code(tag: str, codes: Mapping[str, int]) -> str | None:
    if not _TAG.fullmatch(tag):
        return None
    first, *rest = re.split("[-_]", tag)
    language = first.lower()
    if rest and len(rest[0]) == 3 and rest[0].isalpha():  # zh-yue, as Cantonese was once written
        language, rest = rest[0].lower(), rest[1:]
    script = next((part.title() for part in rest if len(part) == 4 and part.isalpha()), "")
    usual = _CODES.get(language) or _ALIASES.get(language)
    base = language if usual is None else usual.partition("_")[0]
    if base == "zho" and not script and any(part.upper() in _TRADITIONAL for part in rest):
        script = "Hant"
    if script:
        return f"{base}_{script}"
    return usual or next((code for code in codes if code.startswith(f"{base}_")), None)


def _tag(code: str) -> str:
    base, _, script = code.partition("_")
    if code in _TAGS:
        return _TAGS[code]
    # Another script of a language that has a usual one; any other has no more than its own.
    return f"{_BY_SCRIPT[base]}-{script}" if base in _BY_SCRIPT else base
