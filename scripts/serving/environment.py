"""The surroundings of a start: what of them TorchServe gets to see, and what must not come between."""

import locale
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from serving import LaunchError

# A PYTHONPATH would come before the folder of the archive in a worker, and an archive runs with what it
# brought; a PYTHONHOME is another Python's. What begins with TS_ beats the configuration of this run.
DROPPED = ("PYTHONPATH", "PYTHONHOME", "JAVA_HOME")
DROPPED_PREFIX = "TS_"
UTF8_LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "UTF-8")


def passed_on() -> dict[str, str]:
    """Return this process's environment as TorchServe is to have it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIX)
    }
    # Python takes file names for UTF-8 in the C locale too, and where the locale is not installed; Java knows
    # ASCII alone there, and would not find them.
    unequal = sys.getfilesystemencoding() == "utf-8" and not _is_utf8(locale.getencoding())
    if unequal and (found := next(filter(_installed, UTF8_LOCALES), None)):
        kept["LC_ALL"] = found
    return kept


def check_paths(paths: Iterable[Path]) -> None:
    """Make sure that Java can open these paths.

    Raises:
        LaunchError: one holds bytes that are no text in the encoding of file names.
    """
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise LaunchError(
                f"the path {os.fsencode(path)!r} holds bytes that are no {sys.getfilesystemencoding()}, and"
                " Java cannot open it; give its folder another name"
            ) from None


def forget_proxies() -> None:
    """Keep the environment's proxies from this process, and what it starts: it calls its own server alone."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"


def _installed(name: str) -> bool:
    """Whether the machine has the locale; the process's own stays."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True
