"""All dashboards, as Grafana reads them."""

from __future__ import annotations

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.monitoring.dashboards import callers, collections, service, towers

_BOARDS = {
    "service": service.dashboard,
    "towers": towers.dashboard,
    "callers": callers.dashboard,
    "collections": collections.dashboard,
}


def rendered() -> dict[str, str]:
    """The content of each file, by its name without `.json`."""
    encoder = JSONEncoder(indent=1, sort_keys=True, ensure_ascii=False)
    return {name: encoder.encode(make().build()) + "\n" for name, make in _BOARDS.items()}
