"""The kinds of jobs: what each is given, what it does, and what comes of it.

compact    {}
dedup      {"kinds"?: ["exact", "near", "semantic"], "filter"?: {…}}
import     {"folder": "/photographs/2024"}      below one of the gateway's content_roots
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from babelclip import Embeddings
from babelclip.dedup import DEFAULT_KINDS, DuplicateGroups, find_duplicates
from babelclip.dedup import KINDS as DUPLICATES
from babelclip.index import Settings
from babelclip.ingest.add import AddReport, NothingListed, add
from babelclip.ingest.sources.folder import FolderSource
from gateway.access.account import ACCOUNT, STREAMING, Account
from gateway.collections.calls import Calls
from gateway.collections.store import Opened
from gateway.errors import ApiError, malformed

if TYPE_CHECKING:
    from babelclip.client.sync import Client

MOST_GROUPS = 10_000
"""Groups of duplicates that are told."""
_TRIES = 20  # of images that find no room at the model
_ADMIN_ALONE = ("import",)


class Cancelled(Exception):
    """The job is to end."""


class Progress(Protocol):
    """Told how far a job is; raises `Cancelled` where it is to end."""

    def __call__(self, done: int, total: int | None) -> None: ...

    def is_cancelled(self) -> bool:
        """Whether it is to end."""
        ...


@dataclass
class JobContext:
    """What a job works with, in its thread.

    Attributes:
        loop: the gateway's event loop, in which everything is embedded.
        account: of the key that began the job; its limits hold for what the job embeds.
        progress: set when the job begins.
    """

    calls: Calls
    opened: Opened
    settings: Settings
    loop: asyncio.AbstractEventLoop
    account: Account | None
    progress: Progress = field(init=False)


Work = Callable[[JobContext], Mapping[str, Any]]


def needs_admin(kind: Any) -> bool:
    """Whether a job reads what is the operator's."""
    return kind in _ADMIN_ALONE


def _compact(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    _only(parameters)

    def work(context: JobContext) -> Mapping[str, Any]:
        context.opened.index.compact()
        info = context.opened.index.info()
        return {"method": info.method, "indexed": info.indexed, "recall_at_10": info.recall_at_10}

    return work


def _dedup(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    _only(parameters, "kinds", "filter")
    kinds = parameters.get("kinds") or list(DEFAULT_KINDS)
    if not isinstance(kinds, list) or any(kind not in DUPLICATES for kind in kinds):
        raise malformed(f'"kinds" must be a list of {", ".join(DUPLICATES)}', "kinds")
    where = parameters.get("filter")
    if where is not None and not isinstance(where, dict):
        raise malformed('"filter" must be an object', "filter")

    def work(context: JobContext) -> Mapping[str, Any]:
        found = find_duplicates(
            context.opened.index,
            kinds=kinds,
            where=where,
            progress=context.progress,
            cancelled=context.progress.is_cancelled,
        )
        return _told(found)

    return work


def _told(found: DuplicateGroups) -> Mapping[str, Any]:
    groups = [
        {
            "keep": group.best.id,
            "ids": [group.best.id, *(one.row.id for one in group.duplicates)],
            "kind": group.kind,
        }
        for group in found.groups[:MOST_GROUPS]
    ]
    return {
        "rows": found.rows,
        "duplicates": found.duplicates,
        "group_count": len(found.groups),
        "groups": groups,
    }


def _import(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    _only(parameters, "folder")
    folder = parameters.get("folder")
    if not isinstance(folder, str) or not folder.startswith(os.sep) or "\0" in folder:
        raise malformed('"folder" must be the absolute path of a folder', "folder")
    real = os.path.realpath(folder)
    allowed = [os.path.realpath(root) for root in roots]
    if not any(real == root or real.startswith(root + os.sep) for root in allowed):
        message = "the folder is not below one that the operator allows, in content_roots"
        raise ApiError(403, "folder_not_allowed", message, param="folder")
    if not os.path.isdir(real):
        raise malformed("there is no such folder", "folder")

    def work(context: JobContext) -> Mapping[str, Any]:
        def told(report: AddReport) -> None:
            context.progress(report.done, report.total)

        try:
            report = add(context.opened.index, _client(context), FolderSource(Path(real)), progress=told)
        except NothingListed:
            message = "the folder is empty, and what was imported from it is kept: is it mounted?"
            raise ApiError(409, "nothing_listed", message) from None
        return {
            name: getattr(report, name)
            for name in ("total", "unchanged", "embedded", "updated", "failed", "dropped")
        }

    return work


class _GatewayClient:
    """What `babelclip.ingest` needs of a client, by the gateway's own towers."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self.space = context.settings.space

    def embed_images(self, images: Iterable[bytes], *, errors: str = "return") -> Embeddings:
        """Encoded images → their vectors; waits for room at the model."""
        work = self._embed(list(images))
        return asyncio.run_coroutine_threadsafe(work, self._context.loop).result()

    async def _embed(self, images: Collection[bytes]) -> Embeddings:
        ACCOUNT.set(self._context.account)
        STREAMING.set(True)
        for _ in range(_TRIES):
            try:
                return await self._once(images)
            except ApiError as error:
                if error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
        return await self._once(images)

    def _once(self, images: Collection[bytes]) -> Coroutine[Any, Any, Embeddings]:
        context = self._context
        return context.calls.embed(context.opened, context.settings, list(images))


def _client(context: JobContext) -> Client:
    return cast("Client", _GatewayClient(context))


def _only(parameters: Mapping[str, Any], *allowed: str) -> None:
    if extra := set(parameters) - set(allowed):
        named = ", ".join(allowed) or "nothing else"
        raise malformed(f"this kind of job takes {named}, and no {min(extra)[:32]!r}", min(extra)[:32])


KINDS: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], Work]] = {
    "compact": _compact,
    "dedup": _dedup,
    "import": _import,
}
