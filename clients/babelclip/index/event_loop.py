"""One event loop in a thread of its own, for an engine that is asynchronous and callers that are not.

LanceDB's own synchronous calls are shells of its asynchronous ones, each of several hops between threads;
here a whole search is one hop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_process = 0


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end in the loop's thread; where the caller is interrupted it is cancelled."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _running())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running() -> asyncio.AbstractEventLoop:
    global _loop, _process
    with _lock:
        if _loop is None or _process != os.getpid():  # a forked child has the loop, but not its thread
            _loop, _process = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="babelclip-index", daemon=True).start()
        return _loop
