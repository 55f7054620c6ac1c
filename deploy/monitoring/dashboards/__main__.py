"""Writes Grafana's dashboards anew: python -m deploy.monitoring.dashboards, in the repository's folder."""

from __future__ import annotations

from deploy.monitoring.dashboards.boards import rendered
from deploy.monitoring.dashboards.queries import FOLDER


def main() -> None:
    """Write each into its file."""
    for name, text in rendered().items():
        path = FOLDER / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
