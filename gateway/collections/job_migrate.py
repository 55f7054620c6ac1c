"""A collection moves to another version of its model while it is searched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from babelclip.errors import UNREADABLE_FILE
from babelclip.index import Row, SearchIndexError
from babelclip.ingest.migrate import DROP_AFTER, MIN_RECALL, MigrationReport, migrate
from babelclip.ingest.sources.base import EntryUnreadable
from gateway.collections.contents import Contents
from gateway.collections.job_client import job_client
from gateway.collections.job_context import JobContext, Work, only
from gateway.errors import ApiError, malformed
from gateway.models import Chosen
from gateway.towers.base import ModelVersion
from gateway.versions import VERSION

_LOOKS = 0.5  # seconds between two looks at whether the job is to end


def migration(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    """Embed all items again by another version, and let that be what is searched once it is proven.

    Raises:
        ApiError: the parameters are wrong.
    """
    only(parameters, "to", "allow_missing", "min_recall")
    to, allow_missing = parameters.get("to"), parameters.get("allow_missing", False)
    if to is not None and not (isinstance(to, str) and VERSION.fullmatch(to)):
        raise malformed('"to" must be a version of the model', "to")
    if not isinstance(allow_missing, bool):
        raise malformed('"allow_missing" must be true or false', "allow_missing")
    min_recall = parameters.get("min_recall", MIN_RECALL)
    if isinstance(min_recall, bool) or not isinstance(min_recall, int | float) or not 0 <= min_recall <= 1:
        raise malformed('"min_recall" must be a number from 0 to 1', "min_recall")
    contents = Contents(roots)

    def work(context: JobContext) -> Mapping[str, Any]:
        index, name = context.opened.index, context.opened.record.model
        chosen, version = _target(context, f"{name}@{to}" if to else name)
        if version.space == index.settings.space:
            message = f"the collection is of {name}@{version.version or 'default'} already"
            raise ApiError(409, "already_migrated", message, param="to")

        def read(row: Row) -> bytes:
            found = contents.find(context.opened.folder, row)
            if found is None:
                raise EntryUnreadable(
                    UNREADABLE_FILE,
                    "the image is neither kept here nor a file below one of the gateway's content_roots",
                )
            try:
                return found.path.read_bytes()
            except OSError as error:
                raise EntryUnreadable(UNREADABLE_FILE, "the image cannot be read") from error

        def told(report: MigrationReport) -> None:
            context.progress(report.done, report.total)

        report = migrate(
            index,
            job_client(context, chosen, version.space),
            read=read,
            allow_missing=allow_missing,
            min_recall=min_recall,
            drop_after=None,
            progress=told,
        )
        proof = report.proof
        return {
            "version": version.version,
            "space": version.space,
            "embedded": report.embedded,
            "failed": report.failed,
            "recall": None if proof is None else proof.recall,
            "dropped": _dropped(context, report.previous),
        }

    return work


def _target(context: JobContext, model: str) -> tuple[Chosen, ModelVersion]:
    """The version to migrate to, by its own name, so that it stays that whatever is promoted."""
    models = context.calls.models
    version = asyncio.run_coroutine_threadsafe(models.find(model).resolve(), context.loop).result()
    name = model.partition("@")[0]
    return models.find(f"{name}@{version.version}" if version.version else name), version


def _dropped(context: JobContext, generation: str) -> bool:
    """Drop what was searched before, when searches that began in it have ended."""
    until = time.monotonic() + DROP_AFTER
    while time.monotonic() < until:
        if context.progress.is_cancelled():
            return False
        time.sleep(_LOOKS)
    try:
        context.opened.index.drop_generation(generation)
    except SearchIndexError:  # The switch is made, and stays so.
        return False
    return True
