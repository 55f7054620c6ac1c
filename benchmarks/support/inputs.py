"""What is embedded: photographs of 640×480 as JPEG, and short texts in many languages."""

import json
import random
from collections.abc import Sequence

from benchmarks.support.towers import REPOSITORY
from export import golden


def images() -> list[bytes]:
    """JPEGs of 640×480, 66 kB on average."""
    return list(golden.photographs().values())


def pairs(names: list[str]) -> list[str]:
    return [f"{one}, {other}" for one, other in zip(names[::2], names[1::2], strict=False)]


def texts(languages: Sequence[str] = ()) -> list[str]:
    """Two emoji names each, in 129 locales or in those given: up to 2,000 texts of 13 tokens on average.

    Shuffled, so that any stretch of them costs about as much as any other.
    """
    names = json.loads(
        (REPOSITORY / "training/recipes/mini/samples/captions.json").read_text(encoding="utf-8")
    )["names"]
    chosen = [table for locale, table in names.items() if not languages or locale in languages]
    rows = [pairs(list(table.values())) for table in chosen]
    every = [text for row in rows for text in row[:150]]
    return random.Random(0).sample(every, min(2000, len(every)))
