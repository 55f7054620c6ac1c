"""Sentences that zero-shot classification puts a class name into, in some twenty languages.

Their grammar takes a name as it is in a list of classes: what would bend it to a case or a gender stands
before a colon.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

PLACEHOLDER = "{c}"


@functools.cache
def built_in_templates() -> dict[str, list[str]]:
    """ISO 639-1 code → sentences, each with one `{c}`."""
    templates: dict[str, list[str]] = json.loads(Path(__file__).with_name("templates.json").read_bytes())
    return templates
