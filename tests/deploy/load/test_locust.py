"""deploy/load/locustfile.py as an operator runs it, small, against a gateway before an engine in memory."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip import BabelclipError
from tests.deploy.load.server import loaded_gateway
from tests.e2e.support import PATIENCE
from tests.gateway.front import Front
from tests.places import REPOSITORY

pytestmark = [
    pytest.mark.slow,  # loads a server for seconds
    # Locust patches the process that imports it, so it is only looked for.
    pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="Locust is not installed"),
]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """A gateway."""
    with loaded_gateway(tmp_path) as front:
        yield front


def locust(front: Front, transport: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it for a second; its figures are on standard output."""
    given = {
        **os.environ,
        "BABELCLIP_URL": getattr(front.addresses, transport),
        "BABELCLIP_TOKEN": front.key,
        "LOAD_SECONDS": "2",
        "LOAD_RATE": "10",
        "LOAD_P99_MS": str(1e3 * PATIENCE),
        **environment,
    }
    words = [sys.executable, "-m", "locust", "-f", "deploy/load/locustfile.py", "--headless", "--json"]
    return subprocess.run(words, cwd=REPOSITORY, env=given, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_it_loads_a_gateway(transport: str, front: Front) -> None:
    """Requests with good and bad items are answered rightly, all of them, over both transports."""
    done = locust(front, transport, LOAD_PROFILE="soak", LOAD_ITEMS="5", LOAD_BAD_SHARE="0.3")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    assert sum(row["num_requests"] for row in rows) > 0
    assert all(row["num_failures"] == 0 for row in rows), rows
    assert {row["method"] for row in rows} == {"POST" if transport == "http" else "gRPC"}


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_server_that_fails_fails_the_test(transport: str, front: Front) -> None:
    """An engine that is down is not a passed load test, and the reason stands in a line."""
    front.engine.fail_with(BabelclipError("gone"))
    done = locust(front, transport)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "more than LOAD_ERRORS_SHARE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_ends_it_at_once(front: Front) -> None:
    """A mistyped variable is a sentence."""
    done = locust(front, "http", LOAD_PROFILE="wave")
    assert done.returncode != 0
    assert "LOAD_PROFILE=wave is none of steady" in done.stderr
    assert "Traceback" not in done.stderr
