"""How `babelclip models list` presents versions: a table for people, a document for programs."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from babelclip.cli.console import cell
from babelclip.versions.overview import Overview, TowerState
from babelclip.wire import TOWERS


def version_table(found: Overview) -> Table:
    """A row for each version; of each tower its workers (ready of all), waiting requests and memory."""
    table = Table("name", "version", "space", "default")
    for tower in TOWERS:
        table.add_column(f"{tower} workers", justify="right")
        table.add_column("waiting", justify="right")
        table.add_column("memory", justify="right")
    for one in found.versions:
        default = "default" if one.default else "previous" if one.version == found.previous else ""
        states = [text for tower in TOWERS for text in _cells(one.towers[tower])]
        table.add_row(cell(one.name), cell(one.version), cell(one.space), default, *states)
    return table


def _cells(state: TowerState | None) -> tuple[str, str, str]:
    if state is None:
        return "not served", "–", "–"
    memory = "–" if state.memory is None else f"{state.memory / 1e6:.0f} MB"
    return f"{state.ready}/{state.workers}", str(state.pending), memory


def as_json(found: Overview) -> dict[str, Any]:
    """The same and the server's defaults; memory in bytes, null where it is not known."""
    promoting = found.promoting
    return {
        "versions": [
            {
                "name": one.name,
                "space": one.space,
                "version": one.version,
                "default": one.default,
                "unproved": one.unproved,
                "towers": {tower: _state(one.towers[tower]) for tower in TOWERS},
            }
            for one in found.versions
        ],
        "server_defaults": dict(found.defaults),
        "previous": found.previous,
        "promoting": promoting and {"from": promoting.source, "to": promoting.target},
        "remarks": list(found.remarks),
    }


def _state(state: TowerState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "workers_ready": state.ready,
        "workers": state.workers,
        "pending": state.pending,
        "memory_bytes": state.memory,
    }
