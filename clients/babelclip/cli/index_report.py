"""What `babelclip index` says: progress with rate and time left, reports, descriptions of an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from babelclip.cli.console import cell, note
from babelclip.index import IndexInfo, Row
from babelclip.ingest.add import AddReport
from babelclip.ingest.migrate import MigrationReport

_EVERY = 10.0  # seconds between two lines where there is no terminal


class Rate(ProgressColumn):
    """How many are done, of how many, and how many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{total}  {'' if speed is None else f'{speed:,.1f}/s'}")


@contextmanager
def add_progress(what: str) -> Iterator[Callable[[AddReport], None]]:
    """Shows how a run comes on, on standard error: a bar on a terminal, else a line every ten seconds."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn())
    last = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def show(report: AddReport) -> None:
            nonlocal last
            bar.update(task, completed=report.done, total=report.total)
            if not console.is_terminal and time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                note(f"{what}: {progress_line(report)}")

        yield show


def progress_line(report: AddReport) -> str:
    """How far a run is, how fast it goes and how long it takes yet."""
    new = report.done - report.unchanged
    rate = new / report.seconds if report.seconds > 0 else 0.0
    of = "" if report.total is None else f" of {report.total:,}"
    line = f"{report.done:,}{of}, {rate:.1f} a second"
    if report.total is not None and rate > 0:
        line += f", {_duration((report.total - report.done) / rate)} left"
    return line


def add_json(report: AddReport) -> dict[str, Any]:
    """The outcome of a run."""
    return {
        "listed": report.listed,
        "embedded": report.embedded,
        "unchanged": report.unchanged,
        "updated": report.updated,
        "failed": report.failed,
        "dropped": report.dropped,
        "skipped": [skip.as_json() for skip in report.skipped],
        "seconds": round(report.seconds, 3),
    }


def add_line(report: AddReport) -> str:
    """The outcome of a run in a sentence."""
    counts = {
        "embedded": report.embedded,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "dropped": report.dropped,
        "failed": report.failed,
    }
    parts = [f"{count:,} {name}" for name, count in counts.items() if count or name == "embedded"]
    return f"{', '.join(parts)} in {_duration(report.seconds)}"


def migration_json(report: MigrationReport) -> dict[str, Any]:
    """The outcome of a migration."""
    proof = report.proof
    return {
        "previous": report.previous,
        "generation": report.generation,
        "space": report.settings.space,
        "version": report.settings.version,
        "rows": report.total,
        "embedded": report.embedded,
        "failed": report.failed,
        "missing": [] if proof is None else [skip.as_json() for skip in proof.missing],
        "golden_queries": 0 if proof is None else proof.queries,
        "recall_at_10": None if proof is None else proof.recall,
        "agreement_at_10": None if proof is None else proof.agreement,
        "seconds": round(report.seconds, 3),
    }


def migration_line(report: MigrationReport) -> str:
    """The outcome of a migration in a sentence."""
    proof = report.proof
    line = f"{report.total:,} rows are of version {report.settings.version or '?'} now"
    if proof is not None and proof.recall is not None:
        line += f"; {proof.recall:.0%} of {proof.queries} golden queries found their rows"
    if proof is not None and proof.agreement is not None:
        line += f"; {proof.agreement:.0%} of the ten nearest rows are the same as before"
    return line


def info_json(info: IndexInfo, generations: Sequence[str]) -> dict[str, Any]:
    """What an index says of itself, and the names of all its generations."""
    settings = info.settings
    return {
        "address": info.address,
        "engine": info.engine,
        "generation": info.generation,
        "generations": sorted(generations),
        "space": settings.space,
        "version": settings.version,
        "dim": settings.dim,
        "logit_scale": settings.logit_scale,
        "fields": dict(settings.fields),
        "rows": info.rows,
        "failed": info.failed,
        "method": info.method,
        "indexed": info.indexed,
        "recall_at_10": info.recall_at_10,
        "parameters": dict(info.parameters),
    }


def info_table(info: IndexInfo, generations: Sequence[str]) -> Table:
    """The same for people."""
    table = Table(show_header=False)
    for name, value in info_json(info, generations).items():
        if isinstance(value, list):
            value = ", ".join(value)
        if isinstance(value, dict):
            value = ", ".join(f"{key}={one}" for key, one in value.items())
        table.add_row(name.replace("_", " "), cell("" if value is None else str(value)))
    return table


def row_json(row: Row) -> dict[str, Any]:
    """A row without its vector and its thumbnail."""
    return {name: value for name, value in vars(row).items() if name not in ("vector", "thumbnail")}


def rows_table(rows: list[Row]) -> Table:
    """Rows for people."""
    table = Table("id", "source", "size", "caption", "error")
    for row in rows:
        size = f"{row.width}×{row.height}" if row.width else ""
        error = f"{row.error_code}: {row.error_message}" if row.error_code else ""
        table.add_row(row.id, cell(row.source), size, cell(row.caption), cell(error))
    return table


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 60 else f"{hours:.1f} h"
