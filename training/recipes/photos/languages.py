"""Codes of languages: wordnets have three letters of ISO 639-3, CLDR's locales the shortest code there is."""

import re

# The languages that both name things in, and those of wordnets that CLDR calls otherwise.
SHORT = {
    "afr": "af", "als": "sq", "amh": "am", "arb": "ar", "ara": "ar", "asm": "as", "aze": "az", "bel": "be",
    "ben": "bn", "bos": "bs", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh", "cym": "cy", "dan": "da",
    "deu": "de", "ell": "el", "eng": "en", "est": "et", "eus": "eu", "fao": "fo", "fas": "fa", "fin": "fi",
    "fra": "fr", "fry": "fy", "gla": "gd", "gle": "ga", "glg": "gl", "guj": "gu", "hat": "ht", "hau": "ha",
    "hbs": "sh", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ibo": "ig", "ind": "id",
    "isl": "is", "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khm": "km",
    "kir": "ky", "kor": "ko", "kur": "ku", "lao": "lo", "lat": "la", "lav": "lv", "lit": "lt", "ltz": "lb",
    "mal": "ml", "mar": "mr", "mkd": "mk", "mlt": "mt", "mon": "mn", "mya": "my", "nep": "ne", "nld": "nl",
    "nno": "nn", "nob": "no", "ori": "or", "pan": "pa", "pol": "pl", "por": "pt", "pus": "ps", "que": "qu",
    "ron": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slv": "sl", "sna": "sn", "som": "so", "spa": "es",
    "sqi": "sq", "srp": "sr", "swa": "sw", "swe": "sv", "tam": "ta", "tel": "te", "tgk": "tg", "tgl": "fil",
    "tha": "th", "tir": "ti", "tuk": "tk", "tur": "tr", "uig": "ug", "ukr": "uk", "urd": "ur", "uzb": "uz",
    "vie": "vi", "wol": "wo", "xho": "xh", "yid": "yi", "yor": "yo", "zho": "zh", "zsm": "ms", "zul": "zu",
}  # fmt: skip
CODE = re.compile(r"[a-z]{3}")


def language_of(code: str) -> str | None:
    """CLDR's code of a wordnet's; its own where CLDR has none; None for no code, such as `*roa-jer`."""
    if CODE.fullmatch(code) is None:
        return None
    return SHORT.get(code, code)
