"""Work on a collection that takes longer than a caller waits: begun, looked at, cancelled."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from babelclip.errors import OVERLOADED, BabelclipError
from gateway.access.account import ACCOUNT, may_use
from gateway.collections.calls import Calls
from gateway.collections.job_context import Cancelled, JobContext
from gateway.collections.job_files import INTERRUPTED, STATES, Job, JobFiles, job_not_found
from gateway.collections.job_kinds import KINDS
from gateway.collections.store import Opened
from gateway.errors import ApiError, malformed

AT_ONCE = 2
"""Jobs that a process runs at the same time."""
_TOLD = 0.5  # seconds between two notes of how far a job is
_log = logging.getLogger(__name__)


class Jobs:
    """The jobs of this process, and what the others say of theirs.

    Args:
        roots: the folders of which images may be imported.
    """

    def __init__(self, calls: Calls, roots: tuple[str, ...]) -> None:
        self._calls = calls
        self._roots = roots
        self._files = JobFiles(calls.store.root)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="collections-job")
        self._lock = threading.Lock()
        self._under_way = 0
        self._stopping = threading.Event()
        calls.metrics.expect_jobs(KINDS, [state for state in STATES if state != "running"])

    async def start(self, collection: str, kind: str, parameters: Mapping[str, Any]) -> Job:
        """Begin a job.

        Raises:
            ApiError: there is no such collection or kind, the parameters are wrong, or too many jobs run.
        """
        make = KINDS.get(kind)
        if make is None:
            raise malformed(f'"kind" must be one of {", ".join(KINDS)}', "kind")
        work = make(parameters, self._roots)
        opened, settings = await self._calls.find(collection)
        context = JobContext(self._calls, opened, settings, asyncio.get_running_loop(), ACCOUNT.get())
        with self._lock:
            if self._under_way >= AT_ONCE:
                message = f"the gateway runs {AT_ONCE} jobs at a time, and does; try again"
                raise ApiError(503, OVERLOADED, message, retry_after=10)
            self._under_way += 1
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[Job] = loop.create_future()

        def settle(job: Job | Exception) -> None:
            if begun.done():  # The caller has hung up; the job goes on.
                return
            if isinstance(job, Exception):
                begun.set_exception(job)
            else:
                begun.set_result(job)

        def tell(job: Job | Exception) -> None:
            loop.call_soon_threadsafe(settle, job)

        self._threads.submit(self._run, opened, kind, work, context, tell)
        return await begun

    async def listed(self) -> list[Job]:
        """The jobs of all processes on collections of the caller, the newest first."""
        return [job for job in await self._calls.read(self._files.listed) if may_use(job.collection)]

    async def find(self, job: str) -> Job:
        """One job.

        Raises:
            ApiError: there is none of this id.
        """
        found = await self._calls.read(self._files.read, job)
        if not may_use(found.collection):
            raise job_not_found(job)
        return found

    async def cancel(self, job: str) -> Job:
        """Have a job end soon, whichever process runs it → the job as it is now.

        Raises:
            ApiError: there is none of this id.
        """
        await self.find(job)
        return await self._calls.write(self._files.cancel, job)

    def close(self) -> None:
        """Ends the jobs of this process as soon as they can be ended; they have failed."""
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(
        self,
        opened: Opened,
        kind: str,
        work: Callable[[JobContext], Mapping[str, Any]],
        context: JobContext,
        begun: Callable[[Job | Exception], None],
    ) -> None:
        """In a thread: the job from its beginning to its end."""
        with ExitStack() as left:
            left.callback(self._left)
            try:
                self._files.forget()
                job = left.enter_context(self._files.running(opened.record.name, kind))
            except Exception as error:
                begun(error)
                return
            begun(job)
            told = _Progress(job, self._files, self._stopping)
            context.progress = told
            count = left.enter_context(self._calls.metrics.job(kind))
            try:
                result = work(context)
            except Exception as error:
                ended = _ended(told, error, self._stopping.is_set())
            else:
                ended = replace(told.job, state="done", result=result, updated=time.time())
            count(ended.state)
            self._files.write(ended)

    def _left(self) -> None:
        with self._lock:
            self._under_way -= 1


class _Progress:
    """Notes how far a job is, and ends it where somebody wants that."""

    def __init__(self, job: Job, files: JobFiles, stopping: threading.Event) -> None:
        self.job = job
        self._files = files
        self._stopping = stopping
        self._at = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        self.job = replace(self.job, done=done, total=total, updated=time.time())
        if time.monotonic() - self._at >= _TOLD:
            self._at = time.monotonic()
            self._files.write(self.job)
        if self.is_cancelled():
            raise Cancelled

    def is_cancelled(self) -> bool:
        """Whether the job is to end."""
        return self._stopping.is_set() or self._files.is_cancelled(self.job.id)


def _ended(told: _Progress, error: Exception, stopping: bool) -> Job:
    job = replace(told.job, updated=time.time())
    if told.is_cancelled() and not stopping:
        return replace(job, state="cancelled")
    if stopping:
        return replace(
            job, state="failed", code=INTERRUPTED, message="the gateway was stopped; begin it again"
        )
    if isinstance(error, ApiError):
        return replace(job, state="failed", code=error.code, message=error.message)
    if isinstance(error, BabelclipError):
        _log.warning("the job %s of %s failed: %s", job.kind, job.collection, error)
        return replace(job, state="failed", code=_word(error), message=_sentence(error))
    _log.error("the job %s of %s failed", job.kind, job.collection, exc_info=error)
    message = "an unexpected failure of the gateway; its log says more"
    return replace(job, state="failed", code="internal", message=message)


def _word(error: BabelclipError) -> str:
    """The name of an error as a word for programs: IndexBusy → index_busy."""
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _sentence(error: BabelclipError) -> str:
    sentences = {
        "IndexBusy": "another process is at the same change; try again",
        "InvalidFilter": str(error),
        "MigrationIncomplete": str(error),
        "SpaceMismatch": "the collection has become one of another embedding space; begin again",
    }
    return sentences.get(type(error).__name__, "the collection or the model could not be used; try again")
