"""What can go wrong with an index, as a tree below BabelclipError.

    SearchIndexError       the index cannot do what was asked
    ├── IndexNotFound      there is none at this address
    ├── IndexExists        one would be made where one is
    ├── IndexBusy          another process is making the same change
    └── InvalidFilter      a filter is not valid, or names a field that the index does not have

Vectors of another embedding space are SpaceMismatch, as everywhere.
"""

from babelclip.errors import BabelclipError


class SearchIndexError(BabelclipError):
    """The index cannot do what was asked; the message says why, and what can be done."""


class IndexNotFound(SearchIndexError):
    """There is no index at this address."""


class IndexExists(SearchIndexError):
    """There is an index at this address already."""


class IndexBusy(SearchIndexError):
    """Another process is making the same change; ask again when it is done."""


class InvalidFilter(SearchIndexError, ValueError):
    """A filter that cannot be used: the message names the place, and what is allowed there."""
