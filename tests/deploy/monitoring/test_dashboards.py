"""The dashboards: what is committed is what the generator writes, and has what Grafana needs."""

import json
from typing import Any

import pytest
import yaml

from deploy.monitoring.dashboards.queries import FOLDER, asked
from tests.deploy.monitoring.tools import MONITORING

FILES = sorted(FOLDER.glob("*.json"))


def read(file: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_files_are_what_the_generator_writes() -> None:
    """Who changes a panel changes the code; `python -m deploy.monitoring.dashboards` writes the files."""
    boards = pytest.importorskip(
        "deploy.monitoring.dashboards.boards", reason="grafana-foundation-sdk is not installed"
    )
    assert {file.stem: file.read_text(encoding="utf-8") for file in FILES} == boards.rendered()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_can_be_read_by_people(file: Any) -> None:
    """Every panel says what it means and in what unit, has a place of its own, and asks the chosen source."""
    board = read(file)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        taken = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & places
        places |= taken
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert asked(panel, "1m")


def test_every_variable_is_used() -> None:
    """Models, versions and keys can be told apart where they matter."""
    used: dict[str, set[str]] = {}
    for file in FILES:
        board = read(file)
        names = {one["name"] for one in board["templating"]["list"]} - {"datasource"}
        text = json.dumps(board["panels"])
        assert all(f"${name}" in text for name in names)
        used[file.stem] = names
    assert used == {
        "service": {"model"},
        "towers": {"tower", "version"},
        "callers": {"key"},
        "collections": {"model"},
    }


def test_grafana_finds_them() -> None:
    """The provisioning names a folder and a source, in the form that Grafana reads."""
    provisioning = MONITORING / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "babelclip.yml").read_text())["providers"]
    assert provider["type"] == "file"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
