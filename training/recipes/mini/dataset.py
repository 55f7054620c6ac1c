"""The emoji–CLDR data set: open drawings of every emoji, captioned in more than a hundred locales.

    python -m training.recipes.mini.dataset data/emoji

fetches seven families of drawings and the Unicode CLDR annotations as pinned, checksummed packages, and
writes

    data/emoji/concepts.json             [{"emoji", "slug", "families": [...]}, ...]: one row per emoji
    data/emoji/captions/<locale>.json    {"<emoji>": {"name": ..., "keywords": [...]}}
    data/emoji/drawings/<family>/<code points>.png
    data/emoji/LICENSES.md

The same packages give the same bytes. Twemoji is the held-out family: `TRAIN_FAMILIES` leaves it out, and the
evaluation looks for nothing else. Needs npm, which the `train` dependency group brings when the system has
none.
"""

import argparse
import contextlib
import json
import re
import sys
import tarfile
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import resvg_py

from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.npm_packages import Package, PackageError, fetch

TRAIN_FAMILIES = ("noto", "noto-v1", "fluent-emoji-flat", "fxemoji", "emojione", "openmoji")
HELD_OUT_FAMILY = "twemoji"
MIN_CAPTIONS = 1000  # a locale is kept that has more captions (names and keywords) than this
RENDER_PX = 96  # larger than a small model's input, so that it is resized like any other picture


DRAWINGS = {
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0",
        "Noto Emoji, Google",
    ),
    "noto-v1": Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0",
        "Noto Emoji (first drawings), Google",
    ),
    "fluent-emoji-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT",
        "Fluent Emoji (flat), Microsoft",
    ),
    "fxemoji": Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        "Apache-2.0",
        "FxEmojis, Mozilla",
    ),
    "emojione": Package(
        "@iconify-json/emojione",
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0",
        "EmojiOne 2, Emoji One",
    ),
    "openmoji": Package(
        "@iconify-json/openmoji",
        "1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        "CC-BY-SA-4.0",
        "OpenMoji, HfG Schwäbisch Gmünd and contributors",
    ),
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
        "Twemoji, Twitter and contributors",
    ),
}
ANNOTATIONS = {
    "annotations": Package(
        "cldr-annotations-full",
        "48.2.0",
        "DV7A+rEcgUSNTRsVGNGqBZRmAkGfwhGHO5Q1dRwzBoBnVrHWp804JP7/QJdEc66iHmx3+zLWVIMCFLm0lW7PUQ==",
        "Unicode-3.0",
        "Unicode CLDR annotations",
    ),
    "annotationsDerived": Package(
        "cldr-annotations-derived-full",
        "48.2.0",
        "log62km+AOzI7n/NEuNNFV0mg9DWnt67EYCh1RwxZq9dyRuyteB586LT83Ke8TchEfnwI9cIk2P31zO4nTvZmw==",
        "Unicode-3.0",
        "Unicode CLDR annotations (derived)",
    ),
}


class Caption(TypedDict):
    """What CLDR calls an emoji in a locale."""

    name: str
    keywords: list[str]


def plain(emoji: str) -> str:
    """The emoji without variation selectors, which the sources set differently."""
    return emoji.replace("\ufe0f", "")


def code_points(emoji: str) -> str:
    return "-".join(f"{ord(char):x}" for char in emoji)


def has_skin_tone(emoji: str) -> bool:
    return any(0x1F3FB <= ord(char) <= 0x1F3FF for char in emoji)


def read_captions(cache: Path) -> dict[str, dict[str, Caption]]:
    """{locale: {emoji: {"name": str, "keywords": [str, ...]}}} of every locale with enough captions."""
    captions: dict[str, dict[str, Caption]] = {}
    for kind, package in ANNOTATIONS.items():
        with tarfile.open(fetch(package, cache)) as tar:
            for member in tar:
                parts = member.name.split("/")
                if len(parts) != 4 or parts[3] != "annotations.json":
                    continue
                file = tar.extractfile(member)
                assert file is not None
                rows = captions.setdefault(parts[2], {})
                for emoji, entry in json.load(file)[kind].get("annotations", {}).items():
                    name = entry.get("tts", [""])[0].strip()
                    if name and not has_skin_tone(emoji):
                        keywords = [word for word in entry.get("default", []) if word != name]
                        rows[plain(emoji)] = {"name": name, "keywords": keywords}
    return captions


class Family:
    """One family's SVG drawings, found by emoji."""

    def __init__(self, package: Package, cache: Path) -> None:
        with tarfile.open(fetch(package, cache)) as tar:

            def member(name: str) -> dict[str, Any]:
                file = tar.extractfile(f"package/{name}")
                assert file is not None
                found: dict[str, Any] = json.load(file)
                return found

            icons = member("icons.json")
            chars = member("chars.json")
        self.default = (icons.get("width", 16), icons.get("height", 16))
        self.icons: dict[str, Any] = icons["icons"]
        self.aliases: dict[str, str] = {
            alias: entry["parent"]
            for alias, entry in icons.get("aliases", {}).items()
            if set(entry) == {"parent"}  # others turn or mirror their parent
        }
        self.by_emoji: dict[str, str] = {
            plain("".join(chr(int(x, 16)) for x in key.split("-"))): v for key, v in chars.items()
        }
        self.by_letters = {letters(slug): slug for slug in (*self.aliases, *self.icons)}

    def slug(self, emoji: str) -> str | None:
        """The package's name of an emoji's drawing; None where it has no such name."""
        return self.by_emoji.get(emoji)

    def svg(self, emoji: str, names: set[str]) -> str | None:
        """The drawing as SVG text; `names` are the names under which older families may list it."""
        slug = self.by_emoji.get(emoji)
        if slug is None:
            slug = next((self.by_letters[n] for n in sorted(names) if n in self.by_letters), None)
        while slug in self.aliases:
            slug = self.aliases[slug]
        if slug not in self.icons:
            return None
        icon = self.icons[slug]
        box = [icon.get("left", 0), icon.get("top", 0)]
        box += [icon.get("width", self.default[0]), icon.get("height", self.default[1])]
        view = " ".join(str(number) for number in box)
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{icon["body"]}</svg>'


def letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def known_names(emoji: str, english: str, slugs: list[str | None]) -> set[str]:
    """Names that a family without a character map may use: CLDR's, other families', Unicode's, flags'."""
    names = {letters(slug) for slug in slugs if slug} | {letters(english)}
    with contextlib.suppress(ValueError):  # a character newer than this Python's Unicode tables has no name
        names.add("".join(letters(unicodedata.name(char)) for char in emoji))
    if english.startswith("flag: "):
        country = letters(english.removeprefix("flag: "))
        names |= {f"flagfor{country}", f"flagforflag{country}"}
    names.discard("")
    return names


def render(svg: str) -> bytes:
    """PNG bytes, `RENDER_PX` × `RENDER_PX` RGBA."""
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_PX, height=RENDER_PX))


def drawings(families: dict[str, Family], english: dict[str, Caption]) -> Iterator[tuple[str, str, str]]:
    """(emoji, family, SVG) of every emoji that has an English name and a held-out drawing."""
    for emoji, caption in english.items():
        if families[HELD_OUT_FAMILY].slug(emoji) is None:
            continue
        slugs = [family.slug(emoji) for family in families.values()]
        names = known_names(emoji, caption["name"], slugs)
        for name, family in families.items():
            svg = family.svg(emoji, names)
            if svg is not None:
                yield emoji, name, svg


def build(target: Path, cache: Path) -> None:
    """Write the data set into `target`, replacing what is there."""
    families = {name: Family(package, cache) for name, package in DRAWINGS.items()}
    captions = read_captions(cache)
    rows = list(drawings(families, captions["en"]))
    by_emoji: dict[str, list[str]] = {}
    for emoji, family, _ in rows:
        by_emoji.setdefault(emoji, []).append(family)
    # A concept that no training family draws, or that only the held-out one has, cannot be learned or tested.
    concepts = {
        emoji: found for emoji, found in by_emoji.items() if len(found) > 1 and HELD_OUT_FAMILY in found
    }

    with outputs.replacing(target) as partial:
        for name in DRAWINGS:
            (partial / "drawings" / name).mkdir(parents=True)
        (partial / "captions").mkdir()

        def draw(row: tuple[str, str, str]) -> None:
            emoji, family, svg = row
            if emoji in concepts:
                (partial / "drawings" / family / f"{code_points(emoji)}.png").write_bytes(render(svg))

        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(draw, rows))
        locales = write_captions(partial / "captions", captions, list(concepts))
        slugs = families[HELD_OUT_FAMILY]
        table = [{"emoji": e, "slug": slugs.slug(e), "families": found} for e, found in concepts.items()]
        write_json(partial / "concepts.json", table)
        (partial / "LICENSES.md").write_text(licences(), encoding="utf-8")
    count = sum(len(found) for found in concepts.values())
    print(f"{target}: {len(concepts)} emoji, {count} drawings, captions in {locales} locales")


def write_captions(folder: Path, captions: dict[str, dict[str, Caption]], concepts: list[str]) -> int:
    """A file per locale that has enough captions of the concepts; returns how many locales have."""
    locales = 0
    for locale, found in sorted(captions.items()):
        kept = {emoji: found[emoji] for emoji in concepts if emoji in found}
        if sum(1 + len(row["keywords"]) for row in kept.values()) > MIN_CAPTIONS:
            locales += 1
            write_json(folder / f"{locale}.json", kept)
    return locales


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def licences() -> str:
    lines = ["# Sources and licences of the emoji–CLDR data set", ""]
    for package in (*DRAWINGS.values(), *ANNOTATIONS.values()):
        lines.append(f"- {package.credit}: {package.licence} (`{package.name}` {package.version})")
    return "\n".join(lines) + "\n"


def ensure(target: Path) -> Path:
    """`target`, built first when it is not there."""
    if not (target / "concepts.json").exists():
        print(f"{target} is not there: building it", file=sys.stderr)
        build(target, target.with_name("packages"))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, help="folder to write, such as data/emoji")
    parser.add_argument(
        "--packages", type=Path, help="where tarballs are kept (default: packages beside target)"
    )
    options = parser.parse_args()
    outputs.check("training.recipes.mini.dataset", "TARGET and --packages", options.target, options.packages)
    try:
        build(options.target, options.packages or options.target.with_name("packages"))
    except PackageError as error:
        sys.exit(f"training.recipes.mini.dataset: {error}")


if __name__ == "__main__":
    main()
