"""Values that are wrong are refused with what is allowed; settings and guide are those of the schema."""

import dataclasses
import json

import pytest
import yaml

from deploy.helm.values_table import table
from gateway.settings import Settings
from tests.deploy.helm.charts import CHART, refused
from tests.places import REPOSITORY

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
GOOD = "{models: {inImage: true}, keys: {existingSecret: keys}, %s}"
# Those that the chart decides itself: ports, TorchServe, places, TLS.
OWN = {
    *("host", "port", "grpc_port", "metrics_port", "metrics_host", "engine", "engine_token_file"),
    *("engine_metrics", "queue_metrics", "tls_certificate", "tls_key", "keys_file", "versions_file"),
    *("authentication", "collections", "collections_index", "models"),
}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("replica: 3", "replica"),
        ("networkPolicy: {enable: false}", "enable"),
        ("securityContext: root", "securityContext"),
        ("image: {tag: 1.0}", "tag"),
        ("image: {digest: latest}", "digest"),
        ("gateway: {settings: {max_item: 3}}", "max_item"),
        ("gateway: {settings: {port: 80}}", "port"),
        ("gateway: {settings: {workers: 0}}", "workers"),
        ("tracks: {Blue: {}}", "Blue"),
        ("tracks: {blue: {replica: 1}}", "replica"),
        ("routing: {weights: {main: -1}}", "main"),
        ("device: {kind: tpu}", "kind"),
        ("run: {sizeLimit: much}", "sizeLimit"),
        ("metrics: {from: []}", "from"),
        ("autoscaling: {by: vpa}", "by"),
    ],
)
def test_a_value_that_is_none_is_refused(values: str, says: str) -> None:
    """A mistyped value would be passed over, and its writer believe that it holds."""
    assert says in refused(GOOD % values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("keys: {existingSecret: ''}", "keys.existingSecret must name a Secret with keys.json"),
        ("models: {}", "models (of the track main) must be one of claim, image, url, inImage"),
        ("models: {inImage: true, claim: {name: a}}", "must be one of claim, image, url, inImage"),
        (f"models: {{url: {{address: 'https://m/', sha256: {'ab' * 32}}}}}", "networkPolicy.egress"),
        ("device: {cards: 1}", "device.cards (of the track main) needs device.kind"),
        ("device: {kind: cuda}", "must be at least 1 with device.kind cuda"),
        ("device: {kind: hpu, cards: 1}", "must be at least 2 with device.kind hpu"),
        ("collections: {enabled: true}", "collections.enabled needs state.claim"),
        ("tracing: {endpoint: 'http://c:4318'}", "tracing.endpoint and collections.index"),
        ("autoscaling: {enabled: true, minReplicas: 0}", "at least 1 by hpa"),
        ("autoscaling: {enabled: true, minReplicas: 11}", "must not be above maxReplicas"),
        ("autoscaling: {enabled: true, by: keda, minReplicas: 0}", "must name what wakes it from zero"),
        ("autoscaling: {enabled: true}, metrics: {enabled: false}", "autoscaling needs metrics.enabled"),
        ("monitoring: {podMonitor: {enabled: true}}, metrics: {enabled: false}", "podMonitor needs metrics"),
        ("gatewayApi: {enabled: true, hostnames: [a], grpc: {hostnames: [b]}}", "gatewayApi.parentRefs"),
        ("gatewayApi: {enabled: true, parentRefs: [{name: g}]}", "hostnames must differ"),
        ("gatewayApi: {enabled: true, parentRefs: [{}], hostnames: [a], grpc: {hostnames: [a]}}", "differ"),
        ("ingress: {enabled: true}", "ingress.host must be the name"),
        ("ingress: {enabled: true, host: a, grpc: {enabled: true}}", "ingress.grpc.host must be the name"),
        ("preStopSeconds: 200", "terminationGracePeriodSeconds must be above preStopSeconds"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together_are_refused(values: str, says: str) -> None:
    """What would be found out by pods that never become ready is said before anything is changed."""
    assert says in refused(_merged(values))


def _merged(values: str) -> str:
    """The good values with these above them."""
    good = yaml.safe_load(GOOD % "replicas: 1")
    for name, value in yaml.safe_load(f"{{{values}}}").items():
        good[name] = value
    return str(yaml.safe_dump(good))


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Nobody mends one value after the other."""
    said = refused("{device: {kind: cuda}, collections: {enabled: true}}")
    for part in ("keys.existingSecret", "must be one of claim", "device.cards", "state.claim"):
        assert part in said


def test_settings_are_those_of_the_gateway() -> None:
    """Each that the gateway has is either the operator's or the chart's, and has the gateway's type."""
    known = SCHEMA["properties"]["gateway"]["properties"]["settings"]["properties"]
    kinds = {"int": "integer", "float": "number", "bool": "boolean", "tuple[str, ...]": None}
    fields = {field.name: str(field.type) for field in dataclasses.fields(Settings)}
    assert known.keys() | OWN == fields.keys()
    assert not known.keys() & OWN
    for name, one in known.items():
        assert one.get("type") == kinds[fields[name]], name


def test_the_guide_has_every_value() -> None:
    """The table of docs/kubernetes.md is the schema's: python -m deploy.helm.values_table writes it anew."""
    guide = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    assert table() in guide
