"""Codes of languages, and the sentences that zero-shot classification puts a class name into.

templates.json beside this file holds a few sentences for each of some twenty languages. Their grammar takes a
name as it stands in a list of classes: what would bend it to a case or a gender stands before a colon.
"""

import functools
import json
from pathlib import Path

from training.evaluation.errors import EvaluationError

PLACEHOLDER = "{c}"
ALIASES = {"jp": "ja", "cn": "zh", "iw": "he"}
"""What data sets write → the ISO 639-1 code. XTD10 has jp, CLIP_benchmark's own files have jp and cn."""


def canonical(code: str) -> str:
    """The code that results carry: `jp` → `ja`, any other as it is."""
    return ALIASES.get(code, code)


def spellings(code: str) -> list[str]:
    """Every code that a data set may write for this language, the canonical one first."""
    due = canonical(code)
    return [due, *(alias for alias, meant in ALIASES.items() if meant == due)]


@functools.cache
def built_in_templates() -> dict[str, list[str]]:
    """Language → sentences, each with one `{c}`."""
    path = Path(__file__).with_name("templates.json")
    templates: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return templates


def templates_of(language: str) -> list[str]:
    """The built-in sentences of a language.

    Raises:
        EvaluationError: there are none.
    """
    known = built_in_templates()
    if canonical(language) not in known:
        raise EvaluationError(
            f"there are no built-in templates in {language!r}; there are in {', '.join(known)}. The data"
            f" set can bring others: zeroshot_classification_templates.{language}.txt"
        )
    return known[canonical(language)]
