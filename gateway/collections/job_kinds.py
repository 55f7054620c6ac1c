"""The kinds of jobs: what each is given, what it does, and what comes of it.

compact    {}
dedup      {"kinds"?: ["exact", "near", "semantic"], "filter"?: {…}}
import     {"folder": "/photographs/2024"}      below one of the gateway's content_roots
migrate    {"to"?: "2.0", "allow_missing"?: false, "min_recall"?: 0.8}
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from babelclip.dedup import DEFAULT_KINDS, DuplicateGroups, find_duplicates
from babelclip.dedup import KINDS as DUPLICATES
from babelclip.ingest.add import AddReport, NothingListed, add
from babelclip.ingest.sources.folder import FolderSource
from gateway.collections.job_client import job_client
from gateway.collections.job_context import JobContext, Work, only
from gateway.collections.job_migrate import migration
from gateway.errors import ApiError, malformed

MOST_GROUPS = 10_000
"""Groups of duplicates that are told."""
_ADMIN_ALONE = ("import", "migrate")


def needs_admin(kind: Any) -> bool:
    """Whether a job reads what is the operator's, or decides what is."""
    return kind in _ADMIN_ALONE


def _compact(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    only(parameters)

    def work(context: JobContext) -> Mapping[str, Any]:
        context.opened.index.compact()
        info = context.opened.index.info()
        return {"method": info.method, "indexed": info.indexed, "recall_at_10": info.recall_at_10}

    return work


def _dedup(parameters: Mapping[str, Any], roots: Sequence[str]) -> Work:
    only(parameters, "kinds", "filter")
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
    only(parameters, "folder")
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
            chosen = context.calls.model_of(context.opened, context.settings)
            client = job_client(context, chosen, context.settings.space)
            # A link may lead to what no folder of the operator's list holds.
            source = FolderSource(Path(real), links=False)
            report = add(context.opened.index, client, source, progress=told)
        except NothingListed:
            message = "the folder is empty, and what was imported from it is kept: is it mounted?"
            raise ApiError(409, "nothing_listed", message) from None
        return {
            name: getattr(report, name)
            for name in ("total", "unchanged", "embedded", "updated", "failed", "dropped")
        }

    return work


KINDS: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], Work]] = {
    "compact": _compact,
    "dedup": _dedup,
    "import": _import,
    "migrate": migration,
}
