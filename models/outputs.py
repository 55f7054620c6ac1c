"""Whether a command can write where it is to, found out before its work and not after it."""

import os
import sys
from pathlib import Path


def check(command: str, option: str, *paths: Path | None) -> None:
    """End `command` with a sentence that names `option`, unless each path can be made or written.

    Nothing is made. A disk that fills up later is not foreseen. None: the command is to write nothing.
    """
    for path in filter(None, paths):
        reason = _reason(path)
        if reason:
            sys.exit(f"{command}: {path} cannot be written: {reason}; choose another place with {option}")


def _reason(path: Path) -> str:
    """Why nothing can be made or replaced there; empty: it can."""
    # os.path, which says False where a folder on the way may not be entered and pathlib raises.
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if place != path.absolute() and not os.path.isdir(place):
        return f"{place} is no folder"
    if not os.access(place, os.W_OK | (os.X_OK if os.path.isdir(place) else 0)):
        return f"this user may not write to {place}"
    return ""
