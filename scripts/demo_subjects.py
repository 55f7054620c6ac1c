"""What `scripts/demo` asks of which model: questions in many languages, and the pictures that answer them."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[1] / "training" / "recipes"

LANGUAGES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sw": "Swahili",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


@dataclass(frozen=True)
class Question:
    text: str
    language: str
    meaning: str
    right: frozenset[str]
    """The pictures that show it, by the stems of their files."""


@dataclass(frozen=True)
class Subject:
    """Pictures, questions about them, and the model that is asked.

    Attributes:
        name: what the pictures are.
        checkpoint: of the model.
        export: how it is exported, in the words of `python -m export`.
        pictures: in the order of their names.
        captions: what each shows, in English, by its file's stem.
        enough: the share of questions that must have a right picture among the first shown.
        calibration: what the model's cosines mean, for the page's line; None where that was not measured.
        query: what the page opens with.
    """

    name: str
    checkpoint: Path
    export: tuple[str, ...]
    pictures: Sequence[Path]
    captions: Mapping[str, str]
    questions: Sequence[Question]
    enough: float
    query: str
    calibration: Path | None


def photographs() -> Subject:
    """Open photographs, and the model whose towers come from packages."""
    folder = RECIPES / "photos"
    samples = folder / "samples"
    with (samples / "questions.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    captions = json.loads((samples / "captions.json").read_text(encoding="utf-8"))
    return Subject(
        "photographs",
        folder / "checkpoint",
        # The least memory: a vocabulary for a hundred languages is most of the model.
        ("--dtype", "int8", "--lean"),
        sorted(samples.glob("*.jpg")),
        {Path(one["file"]).stem: min(one["captions"], key=len) for one in captions},
        [
            Question(
                row["text"],
                LANGUAGES[row["language"]],
                row["meaning"],
                frozenset(Path(name).stem for name in row["photographs"].split()),
            )
            for row in rows
        ],
        0.7,
        "dog",
        folder / "calibration.json",
    )


def drawings() -> Subject:
    """Drawings of emoji that `mini` was not trained on."""
    samples = RECIPES / "mini" / "samples"
    names = json.loads((samples / "captions.json").read_text(encoding="utf-8"))["names"]["en"]
    return Subject(
        "drawings",
        RECIPES / "mini" / "checkpoint",
        (),
        sorted(samples.glob("*.png")),
        {"-".join(_hex(char) for char in emoji): name for emoji, name in names.items()},
        [Question(text, language, meaning, right) for text, language, meaning, right in _asked()],
        0.75,  # some stand on the edge; by chance it would be one in thirty
        "red fruit",
        None,
    )


def _hex(char: str) -> str:
    return f"{ord(char):x}"


def _asked() -> list[tuple[str, str, str, frozenset[str]]]:
    """Questions to the drawings; any of the emoji is a right answer."""
    asked = [
        ("विद्यालय", "Hindi", "school", "🏫"),
        ("犬", "Japanese", "dog", "🐕🐶"),
        ("кофе", "Russian", "coffee", "☕"),
        ("قطة", "Arabic", "cat", "🐈🐱"),
        ("röd ros", "Swedish", "red rose", "🌹"),
        ("σελήνη", "Greek", "moon", "🌙🌛🌜🌕🌝🌓🌔🌖🌗🌘🌑🌒🌚"),
        ("코끼리", "Korean", "elephant", "🐘"),
        ("自行车", "Chinese", "bicycle", "🚲"),
        ("pizza", "Italian", "pizza", "🍕"),
        ("גיטרה", "Hebrew", "guitar", "🎸"),
        ("กุญแจ", "Thai", "key", "🔑🗝"),
        ("মাছ", "Bengali", "fish", "🐟🐠"),
        ("ndizi", "Swahili", "banana", "🍌"),
        ("சிங்கம்", "Tamil", "lion", "🦁"),
        ("снеговик", "Russian", "snowman", "⛄☃"),
        ("fusée", "French", "rocket", "🚀"),
        ("ცხენი", "Georgian", "horse", "🐎🐴"),
        ("kaktus", "Polish", "cactus", "🌵"),
        ("strawberry", "English", "strawberry", "🍓"),
        ("մեղու", "Armenian", "honeybee", "🐝"),
    ]
    return [
        (text, language, meaning, frozenset(map(_hex, emoji))) for text, language, meaning, emoji in asked
    ]
