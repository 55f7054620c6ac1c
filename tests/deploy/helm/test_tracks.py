"""Versions side by side: a Deployment and a Service of each, and routes that share calls out."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm.charts import Document, documents, example, of_kind, refused

TWO = """
keys: {existingSecret: keys}
models: {inImage: true}
tracks: {blue: {}, green: {}}
"""


def routes(found: list[Document]) -> dict[str, list[dict[str, Any]]]:
    """The rules of both routes, by kind."""
    return {
        kind: of_kind(found, kind)["clip-babelclip"]["spec"]["rules"] for kind in ("HTTPRoute", "GRPCRoute")
    }


def shares(found: list[Document]) -> dict[str, int]:
    """What each Service gets of the calls that name no track."""
    (weights,) = {
        tuple((one["name"], one["weight"]) for one in rules[-1]["backendRefs"])
        for rules in routes(found).values()
    }
    return dict(weights)


def test_each_track_has_pods_and_an_address_of_its_own() -> None:
    """What a track says holds for it alone, what it does not say is that of all; no pod is of two tracks."""
    found = documents(example("tracks"))
    deployments = of_kind(found, "Deployment")
    assert deployments.keys() == {"clip-babelclip-blue", "clip-babelclip-green"}
    services = of_kind(found, "Service")
    assert services.keys() == {*deployments, "clip-babelclip"}
    images, models = {}, {}
    for name, deployment in deployments.items():
        track = name.rpartition("-")[2]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert labels["babelclip.io/track"] == track
        selector = services[name]["spec"]["selector"]
        assert selector == deployment["spec"]["selector"]["matchLabels"]
        assert selector["babelclip.io/track"] == track
        assert selector.items() <= labels.items()
        pod = deployment["spec"]["template"]["spec"]
        images[track] = pod["containers"][0]["image"]
        models[track] = pod["initContainers"][0]["image"]
    assert {name: one["spec"]["replicas"] for name, one in deployments.items()} == {
        "clip-babelclip-blue": 3,
        "clip-babelclip-green": 1,
    }
    assert images == {
        "blue": "registry.example.org/babelclip:cpu",
        "green": "registry.example.org/babelclip:cpu-0.2",
    }
    assert [models[track][-3:] for track in ("blue", "green")] == ["1.0", "2.0"]


def test_routes_send_who_names_a_track_to_it_and_share_out_the_others() -> None:
    """A rule for each track, by its header and to it alone, then one for all with weights."""
    for kind, rules in routes(documents(example("tracks"))).items():
        port = {"HTTPRoute": 8000, "GRPCRoute": 8001}[kind]
        *pinned, last = rules
        for (track, version), rule in zip((("blue", "1.0"), ("green", "2.0")), pinned, strict=True):
            named = {"type": "Exact", "name": "Babelclip-Track", "value": track}
            asked = {"type": "Exact", "name": "Babelclip-Version", "value": version}
            assert rule["matches"] == [{"headers": [named]}, {"headers": [asked]}]
            assert rule["backendRefs"] == [{"name": f"clip-babelclip-{track}", "port": port}]
        assert last.keys() == {"backendRefs"}
        assert last["backendRefs"] == [
            {"name": "clip-babelclip-blue", "port": port, "weight": 90},
            {"name": "clip-babelclip-green", "port": port, "weight": 10},
        ]


@pytest.mark.parametrize(
    ("blue", "green", "current"), [(100, 0, "blue"), (50, 50, "blue"), (49, 51, "green"), (0, 100, "green")]
)
def test_a_promotion_changes_weights_alone(blue: int, green: int, current: str) -> None:
    """Pods stay as they are; the Service of the release's name leads to the track with the most."""
    before = documents(example("tracks"))
    found = documents(
        example("tracks"), sets=(f"routing.weights.blue={blue}", f"routing.weights.green={green}")
    )
    assert shares(found) == {"clip-babelclip-blue": blue, "clip-babelclip-green": green}
    assert of_kind(found, "Deployment") == of_kind(before, "Deployment")
    selector = of_kind(found, "Service")["clip-babelclip"]["spec"]["selector"]
    assert selector["babelclip.io/track"] == current


def test_a_track_without_a_weight_gets_only_who_names_it(tmp_path: Path) -> None:
    """A new version proves itself before it is given anything."""
    values = tmp_path / "values.yaml"
    values.write_text(
        f"{TWO}routing: {{weights: {{blue: 7}}}}\ngatewayApi:\n  enabled: true\n  parentRefs: [{{name: g}}]\n"
        "  hostnames: [a]\n  grpc: {hostnames: [b]}\n"
    )
    found = documents(values)
    assert shares(found) == {"clip-babelclip-blue": 7, "clip-babelclip-green": 0}
    assert [rule["matches"][0]["headers"][0]["value"] for rule in routes(found)["HTTPRoute"][:-1]] == [
        "blue",
        "green",
    ]


def test_one_version_is_a_track_too() -> None:
    """Who begins without tracks has one called main, so that a second can come beside it without a gap."""
    found = documents(example("gateway-api"))
    assert of_kind(found, "Deployment").keys() == {"clip-babelclip-main"}
    assert shares(found) == {"clip-babelclip-main": 100}
    later = documents(
        example("gateway-api"),
        sets=("tracks.main.replicas=2", "tracks.green.replicas=1", "routing.weights.main=100"),
    )
    name = "clip-babelclip-main"
    assert of_kind(later, "Deployment")[name] != of_kind(later, "Deployment")["clip-babelclip-green"]
    before, after = (of_kind(one, "Deployment")[name]["spec"]["template"] for one in (found, later))
    assert before["spec"]["containers"][0]["image"] == after["spec"]["containers"][0]["image"]
    selectors = [of_kind(one, "Deployment")[name]["spec"]["selector"] for one in (found, later)]
    assert selectors[0] == selectors[1]


def test_a_track_without_a_version_is_found_by_its_name_alone() -> None:
    """Who asks for a version that no track says it has is shared out with the others."""
    (pinned, _) = routes(documents(example("gateway-api")))["HTTPRoute"]
    header = {"type": "Exact", "name": "Babelclip-Track", "value": "main"}
    assert pinned["matches"] == [{"headers": [header]}]


def test_a_version_is_one_tracks() -> None:
    """Of two tracks with one version a route would lead to the first, whatever the weights."""
    same = "keys: {existingSecret: k}\nmodels: {inImage: true}\nrouting: {weights: {a: 1}}\n"
    same += "tracks: {a: {version: '1.0'}, b: {version: '1.0'}}"
    assert "version 1.0 is that of several tracks" in refused(same)


def test_a_track_may_have_no_pods() -> None:
    """0 is what was said, and not the number of all."""
    found = documents(example("tracks"), sets=("tracks.green.replicas=0",))
    assert of_kind(found, "Deployment")["clip-babelclip-green"]["spec"]["replicas"] == 0


def test_the_versions_of_tracks_are_those_of_their_stores() -> None:
    """A file of versions would be one for both, and name a version that one of them has not."""
    for deployment in of_kind(documents(example("tracks"), sets=("state.claim=s",)), "Deployment").values():
        env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "BABELCLIP_GATEWAY_VERSIONS_FILE", "value": ""} in env
    assert "gateway.versions is for one track" in refused(
        f"{TWO}routing: {{weights: {{blue: 1}}}}\ngateway: {{versions: {{models: {{}}}}}}"
    )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (TWO, "routing.weights must give a track more than 0"),
        (f"{TWO}routing: {{weights: {{blue: 100, gren: 0}}}}", "routing.weights names gren"),
        (f"{TWO}routing: {{weights: {{blue: 0}}}}", "routing.weights must give a track more than 0"),
    ],
)
def test_weights_that_lead_nowhere_are_refused(values: str, says: str) -> None:
    """A mistyped track would silently take no calls."""
    assert says in refused(values)
