"""Duplicates: copies of a file, the same picture in another form, and images that show the same.

from babelclip.dedup import find_duplicates
from babelclip.index import open_index

with open_index("photographs.index") as index:
    found = find_duplicates(index)
"""

from babelclip.dedup.find import DEFAULT_KINDS, find_duplicates
from babelclip.dedup.groups import (
    KINDS,
    DedupCancelled,
    Duplicate,
    DuplicateGroups,
    Group,
    Limits,
    Match,
)
from babelclip.dedup.table import Splits

__all__ = [
    "DEFAULT_KINDS",
    "KINDS",
    "DedupCancelled",
    "Duplicate",
    "DuplicateGroups",
    "Group",
    "Limits",
    "Match",
    "Splits",
    "find_duplicates",
]
