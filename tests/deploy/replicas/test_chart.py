"""The chart's routes, as it renders them, are those that `benchmarks.replicas` puts into HAProxy."""

import yaml

from benchmarks.support.routing import NAME, documents
from deploy.haproxy.routes import Route, read_routes
from tests.places import REPOSITORY

RENDERED = REPOSITORY / "tests" / "deploy" / "helm" / "golden" / "tracks.yaml"


def by_track(route: Route) -> list[tuple[object, dict[str, int]]]:
    """Each rule's match, and the weight of each track, whatever the release is called."""
    return [
        (rule.match, {name.rpartition("-")[2]: weight for name, weight in rule.weights.items()})
        for rule in route.rules
    ]


def test_the_charts_tracks_are_read() -> None:
    """Both routes of its example: who names a track or a version first, then all others by weight."""
    rendered = read_routes(yaml.safe_load_all(RENDERED.read_text(encoding="utf-8")))
    own = read_routes(documents({"blue": 90, "green": 10}, {"blue": "1.0", "green": "2.0"}))
    expected = {route.transport: by_track(route) for route in own}
    assert {route.transport: by_track(route) for route in rendered} == expected
    assert all(name.startswith(f"{NAME}-") for route in own for rule in route.rules for name in rule.weights)
