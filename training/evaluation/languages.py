"""Codes of languages as data sets write them, and the client's sentences for class names by those codes."""

from babelclip.search.templates import PLACEHOLDER, built_in_templates
from training.evaluation.errors import EvaluationError

__all__ = ["ALIASES", "PLACEHOLDER", "built_in_templates", "canonical", "spellings", "templates_of"]

ALIASES = {"jp": "ja", "cn": "zh", "iw": "he"}
"""What data sets write → the ISO 639-1 code. XTD10 has jp, CLIP_benchmark's own files have jp and cn."""


def canonical(code: str) -> str:
    """The code that results carry: `jp` → `ja`, any other as it is."""
    return ALIASES.get(code, code)


def spellings(code: str) -> list[str]:
    """Every code that a data set may write for this language, the canonical one first."""
    due = canonical(code)
    return [due, *(alias for alias, meant in ALIASES.items() if meant == due)]


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
