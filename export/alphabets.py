"""Letters of languages: the exemplar characters of Unicode CLDR, in every case and normal form.

    python -m export.alphabets

fetches the pinned, checksummed CLDR package and writes export/alphabets.json, which is committed; `alphabet`
reads that file alone. Fetching needs npm, which the `train` dependency group brings when the system has none.
"""

import argparse
import difflib
import functools
import itertools
import json
import re
import sys
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from models.files.npm_packages import Package, PackageError, fetch

FILE = Path(__file__).with_suffix(".json")
CLDR = Package(
    "cldr-misc-full",
    "48.2.0",
    "dSc2Tr53dQcUGwsTinamEeoP2YXOhQrIZ+SyeuUrv4MzJOSjT/Q0qkSmX11ZwfcTbYSkIqbrgALQLhAm1yf5fA==",
    "Unicode-3.0",
    "Unicode CLDR exemplar characters",
)
# Numbers and punctuation bring letters too: the № of Russian is "No" to a tokenizer, its ordinals are Roman.
SETS = (
    "exemplarCharacters",
    "auxiliary",
    "index",
    "numbers",
    "numbers-auxiliary",
    "punctuation",
    "punctuation-auxiliary",
    "punctuation-person",
)
# CLDR lists the ideographs of school books; names, places and other varieties need the rest of the script.
HAN = "[々〆〻㐀-䶿一-鿿\\uF900-\\uFAFF\\U00020000-\\U000323AF]"
# What emoji are made of in every language: variation selectors, the keycap's mark, and those emoji that
# compatibility forms turn into letters.
EMOJI = "[\\uFE0E \\uFE0F \\u20E3 ™ ℹ Ⓜ 🈁 🈂 🈚 🈯 🈲-🈺 🉐 🉑 ㊗ ㊙]"

WHITE_SPACE = r"\t-\r \x85\u200E\u200F\u2028\u2029"  # Unicode's Pattern_White_Space
SYNTAX = r"\[\]{}\\^&$:\-"
CHARACTER = (
    r"\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|"
    rf"\\[!-/:-@\[-`{{-~]|[^{SYNTAX}{WHITE_SPACE}]"  # a backslash before punctuation; anything but syntax
)
ITEM = re.compile(
    rf"[{WHITE_SPACE}]+|(?P<first>{CHARACTER})(?:-(?P<last>{CHARACTER}))?|{{(?P<sequence>(?:{CHARACTER})+)}}"
)
REGION_OR_VARIANT = re.compile(r"[A-Z]{2}|[0-9]{3}|[a-z0-9]{5,8}|[0-9][a-z0-9]{3}")


def is_letter(char: str) -> bool:
    """Whether a character is a letter (Unicode category L*) or a mark (M*): these belong to languages."""
    return unicodedata.category(char)[0] in "LM"


def parse(pattern: str) -> set[str]:
    r"""Strings of a UnicodeSet such as `[a-z ñ \u0301 \- {ch}]`.

    Of the syntax of Unicode's UTS #35, that is read which exemplar characters are written in: characters,
    ranges, {sequences}, \uXXXX and \UXXXXXXXX, a backslash before punctuation, and white space between them.

    Raises:
        ValueError: anything else; it names the place.
    """
    strings: set[str] = set()
    at, end = 1, len(pattern) - 1
    if end < 1 or pattern[0] != "[" or pattern[end] != "]":
        raise ValueError(f"{pattern[:20]!r} is no UnicodeSet: it is not in brackets")
    while at < end:
        found = ITEM.match(pattern, at, end)
        if found is None:
            raise ValueError(f"character {at} of the UnicodeSet cannot be read: {pattern[at : at + 20]!r}")
        if found["first"]:
            first = _code(found["first"], at)
            last = _code(found["last"], at) if found["last"] else first
            if last < first:
                raise ValueError(f"character {at} of the UnicodeSet begins an empty range: {found[0]!r}")
            strings.update(map(chr, range(first, last + 1)))
        elif found["sequence"]:
            parts = re.findall(CHARACTER, found["sequence"])
            strings.add("".join(chr(_code(part, at)) for part in parts))
        at = found.end()
    return strings


def _code(written: str, at: int) -> int:
    """Code point of one CHARACTER."""
    code = int(written[2:], 16) if written[:2] in ("\\u", "\\U") else ord(written[-1])
    if code > sys.maxunicode or 0xD800 <= code < 0xE000:
        raise ValueError(f"character {at} of the UnicodeSet is no character: {written!r}")
    return code


def write(strings: Iterable[str]) -> str:
    """A UnicodeSet that `parse` reads as these strings: characters in order, in ranges, then sequences."""
    strings = set(strings)
    codes = sorted(ord(s) for s in strings if len(s) == 1)
    parts = []
    for _, run in itertools.groupby(enumerate(codes), lambda place: place[1] - place[0]):
        row = [_escaped(chr(code)) for _, code in run]
        parts.append(f"{row[0]}-{row[-1]}" if len(row) > 2 else "".join(row))
    parts += ["{" + "".join(map(_escaped, s)) + "}" for s in sorted(strings) if len(s) > 1]
    return "[" + "".join(parts) + "]"


def _escaped(char: str) -> str:
    """The character as `parse` reads it; what is not seen when it stands alone, as its number."""
    category = unicodedata.category(char)
    if category in ("Cc", "Cf", "Co") or category[0] in "ZM":
        return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"
    return "\\" + char if char in "[]{}\\^&$:-" else char


def forms(strings: Set[str]) -> frozenset[str]:
    """Letters and marks of strings, and of what case and Unicode's normal forms make of them.

    Marks that stand alone among the strings are put on every letter. So a text that is made of the strings,
    and goes through changes of case and normal form in any order, stays within the result.
    """
    marks = [string for string in strings if len(string) == 1 and unicodedata.category(string)[0] == "M"]
    found: set[str] = set()
    new = set(strings)
    while new:
        found |= new
        new = {form for string in new for form in _forms(string, marks)} - found
    return frozenset(char for char in found if len(char) == 1 and is_letter(char))


def _forms(string: str, marks: Iterable[str]) -> Iterator[str]:
    yield from string
    yield from (string.lower(), string.upper(), string.title(), string.casefold())
    yield from (unicodedata.normalize(form, string) for form in ("NFC", "NFD", "NFKC", "NFKD"))
    if len(string) == 1:
        marked = (unicodedata.normalize("NFC", string + mark) for mark in marks)
        yield from (char for char in marked if len(char) == 1)
    if "ß" in string:
        yield "ẞ"  # the one capital that upper() does not give


@functools.cache
def emoji_letters() -> frozenset[str]:
    """The letters and marks that emoji consist of, in whatever language a text is."""
    return forms(parse(EMOJI))


@functools.cache
def alphabet(language: str) -> frozenset[str]:
    """Letters and marks (categories L* and M*) that texts in a language are written with.

    `language` is a BCP 47 code as CLDR has it: de, zh-Hant, sr-Latn. A region or a variant for which CLDR has
    no letters of its own is left off (pt-BR is pt), a script never is: name it where it is not the language's
    usual one (pa-Arab). Languages that are written in Han characters have the whole script.

    Raises:
        ValueError: the language is unknown; the message lists codes like it.
    """
    table = _table()
    tag = _nearest(language, table)
    if tag is None:
        close = difflib.get_close_matches(language, table, n=5, cutoff=0.5)
        hint = f"; similar codes are {', '.join(close)}" if close else ""
        raise ValueError(f"CLDR has no letters for the language {language!r}{hint}")
    return forms(parse(table[tag]))


@functools.cache
def _table() -> dict[str, str]:
    """{language: UnicodeSet} of the committed file."""
    languages: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))["languages"]
    return languages


def _nearest(language: str, table: Mapping[str, object]) -> str | None:
    """The code in the table that is left when regions and variants are taken off, one by one."""
    while language not in table:
        language, _, last = language.rpartition("-")
        if not language or not REGION_OR_VARIANT.fullmatch(last):
            return None
    return language


def collect(locales: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """{language: UnicodeSet} from each locale's `characters` in CLDR.

    A locale is left out when `alphabet` finds the same for it without, or when CLDR lists no letters.
    """
    han = parse(HAN)
    table: dict[str, set[str]] = {}
    for locale in sorted(locales):  # a language stands before its regions
        characters = locales[locale]
        letters = {s for name in SETS for s in parse(characters.get(name, "[]")) if _counts(s)}
        main = parse(characters["exemplarCharacters"])
        if not han.isdisjoint(main):
            letters |= han
        nearest = _nearest(locale, table)
        if main and (nearest is None or table[nearest] != letters):
            table[locale] = letters
    return {locale: write(letters) for locale, letters in table.items()}


def _counts(string: str) -> bool:
    """Whether there are letters or marks in a string, or in what compatibility forms make of it."""
    # <LRM> is how some locales write the invisible mark. A character that is newer than this Python's Unicode
    # tables (Cn) may be a letter.
    plain = unicodedata.normalize("NFKC", string)
    return string != "<LRM>" and any(is_letter(c) or unicodedata.category(c) == "Cn" for c in string + plain)


def read(package: Path) -> dict[str, dict[str, str]]:
    """{locale: characters} of CLDR's package, a tarball."""
    locales = {}
    with tarfile.open(package) as tar:
        for member in tar:
            parts = member.name.split("/")
            if len(parts) == 4 and parts[3] == "characters.json":
                file = tar.extractfile(member)
                assert file is not None
                locales[parts[2]] = json.load(file)["main"][parts[2]]["characters"]
    return locales


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m export.alphabets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--packages", type=Path, default=Path("data/packages"), help="where the package is kept"
    )
    options = parser.parse_args()
    try:
        languages = collect(read(fetch(CLDR, options.packages)))
    except PackageError as error:
        sys.exit(f"export.alphabets: {error}")
    source = f"{CLDR.credit} (npm package {CLDR.name} {CLDR.version}), {CLDR.licence}"
    text = json.dumps({"source": source, "languages": languages}, ensure_ascii=False, indent=0)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE}: letters of {len(languages)} languages")


if __name__ == "__main__":
    main()
