"""An index that follows a folder: what is added, changed or deleted there shows in it soon after.

The operating system tells of changes; after each the folder is looked through, and every few minutes besides,
because network drives tell of none. So each round is a whole `add`, and nothing is missed for good.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from babelclip.errors import TransportError
from babelclip.index import IndexBusy
from babelclip.ingest.add import AddReport, NothingListed
from babelclip.ingest.sources.folder import FolderSource

EVERY = 600.0
"""Seconds after which a folder is looked through although nothing has told of a change."""
_AGAIN = 30.0  # seconds: after a round that failed
_TICK = 500  # milliseconds


def follow(
    source: FolderSource,
    run: Callable[[], AddReport],
    *,
    every: float = EVERY,
    stop: threading.Event | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[AddReport]:
    """Reports of what changed, first of all that has changed since the last time; until `stop` is set.

    A round that fails because the server or the index is not to be had, or the folder is gone for now, is
    told to `say` and tried again.

    Args:
        run: one round: calls `babelclip.ingest.add.add` for the source.

    Raises:
        BabelclipError: a round failed for another reason.
        OSError: the folder is not there when it begins.
        ImportError: the package watchfiles is not installed.
    """
    try:
        import watchfiles
    except ImportError as error:
        raise ImportError("following a folder needs watchfiles: pip install 'babelclip[search]'") from error
    if not source.folder.is_dir():
        raise NotADirectoryError(f"{source.folder} is no folder")
    # The first tick comes when the folder is watched already: no change falls between the listing and that.
    ticks = watchfiles.watch(
        source.folder,
        watch_filter=None,
        rust_timeout=_TICK,
        yield_on_timeout=True,
        stop_event=stop,
        ignore_permission_denied=True,
    )
    due = time.monotonic()
    for changes in ticks:
        if not changes and time.monotonic() < due:
            continue
        try:
            report = run()
        except (TransportError, IndexBusy, NothingListed, OSError) as error:
            if say is not None:
                say(f"{error}; trying again")
            due = time.monotonic() + min(_AGAIN, every)
            continue
        due = time.monotonic() + every
        yield report
