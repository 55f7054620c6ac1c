"""What the metrics say before anything has happened; and of keys, disks and the process."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from babelclip.errors import IMAGE_NOT_FETCHED
from babelclip.keys.file import add, revoke
from gateway import outcomes
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.test_metrics import counted, eventually
from tests.places import REPOSITORY

Labels = frozenset[tuple[str, str]]


def series(front: Front, name: str) -> dict[Labels, float]:
    """The series of a metric by their labels."""
    answer = httpx.get(front.addresses.metrics, headers={"accept": CONTENT_TYPE_LATEST})
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    }


def labels(**given: str) -> Labels:
    """The labels of one series."""
    return frozenset(given.items())


def test_every_outcome_counts_from_the_start(tmp_path: Path) -> None:
    """The first failure of a kind is an increase, because its series stood at 0 before anybody called."""
    towers = ("text", "vision")
    folder = str(tmp_path / "collections")
    with gateway(Engine(), tmp_path, cache_mb=1, probe_seconds=0.01, collections=folder) as front:
        eventually(lambda: series(front, "babelclip_gateway_version_items_total"))
        expected = {
            "items": [
                labels(model="clip", tower=tower, outcome=outcome)
                for tower in (*towers, "")
                for outcome in ("ok", *outcomes.ITEM_CODES)
            ],
            "answers": [labels(status=status) for status in outcomes.STATUSES],
            "refusals": [labels(key="test", limit=limit) for limit in outcomes.LIMITS],
            "version_items": [labels(model="clip", version="1.0", outcome=one) for one in ("ok", "failed")],
            "cache_items": [
                labels(model="clip", tower=tower, result=result)
                for tower in towers
                for result in ("hit", "miss", "shared")
            ],
            "jobs": [
                labels(kind=kind, state=state)
                for kind in ("compact", "dedup", "import", "migrate")
                for state in ("done", "failed", "cancelled")
            ],
        }
        for name, known in expected.items():
            assert series(front, f"babelclip_gateway_{name}_total") == dict.fromkeys(known, 0.0)
        shadowed = series(front, "babelclip_gateway_shadow_items_total")
        assert labels(model="clip", tower="text", outcome="internal") in shadowed
        checked = series(front, "babelclip_gateway_self_tests_total")
        assert set(checked) == {labels(model="clip", outcome=outcome) for outcome in outcomes.CHECKS}
        assert checked[labels(model="clip", outcome="canary_mismatch")] == 0


def test_probes_of_health_are_no_answers(tmp_path: Path) -> None:
    """What asks every few seconds would hide that callers fail, or that there are none."""
    with gateway(Engine(), tmp_path) as front:
        for path in ("/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert front.get(path).status_code == 200
        assert front.get("/v1/models").status_code == 401
        eventually(lambda: counted(front, "answers_total", status="401") == 1)
        assert counted(front, "answers_total") == 1


def test_the_outcomes_are_those_of_the_documentation() -> None:
    """docs/errors.md and docs/gateway.md list what is counted from 0."""
    errors = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    table = errors.partition("## Item codes\n")[2].partition("\n## ")[0]
    listed = {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)}
    assert listed | {IMAGE_NOT_FETCHED} == set(outcomes.ITEM_CODES)
    page = (REPOSITORY / "docs" / "gateway.md").read_text(encoding="utf-8")
    table = page.partition("## Errors of requests\n")[2].partition("\n## ")[0]
    assert {*re.findall(r"^\| (\d{3}) \|", table, re.MULTILINE)} <= set(outcomes.STATUSES)
    table = page.partition("| HTTP | gRPC |\n")[2].partition("\n\n")[0]
    assert {*re.findall(r"`([A-Z_]+)`", table)} <= set(outcomes.STATUSES)
    (limits,) = re.findall(r"`babelclip_gateway_refusals_total` \| `key`, `limit`: (.*?) \|", page)
    assert {*re.findall(r"`(\w+)`", limits)} == set(outcomes.LIMITS)


def test_a_key_that_expires_says_when(tmp_path: Path) -> None:
    """An operator is warned before a caller is shut out; a key that was revoked worries nobody."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    with gateway(Engine(), tmp_path, probe_seconds=0.01) as front:
        add(front.keys_file, "shop", expires=ends)
        name = "babelclip_gateway_key_expiry_timestamp_seconds"
        eventually(lambda: series(front, name) == {labels(key="shop"): ends.timestamp()})
        assert labels(key="shop", limit="items") in series(front, "babelclip_gateway_refusals_total")
        revoke(front.keys_file, "shop")
        eventually(lambda: not series(front, name))


def test_room_and_memory_are_seen(tmp_path: Path) -> None:
    """A disk that fills, and a process that grows, can be told beforehand."""
    folder = tmp_path / "collections"
    with gateway(Engine(), tmp_path, collections=str(folder), keys_file=str(tmp_path / "keys.json")) as front:
        free = series(front, "babelclip_gateway_disk_free_bytes")
        size = series(front, "babelclip_gateway_disk_size_bytes")
        assert set(free) == set(size) == {labels(folder="collections"), labels(folder="keys")}
        assert all(0 < free[one] <= size[one] for one in free)
        assert series(front, "process_resident_memory_bytes")[frozenset()] > 10_000_000
