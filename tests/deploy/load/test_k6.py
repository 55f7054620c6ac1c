"""deploy/load/k6.js against a gateway: run by Node, with modules of ours in the place of k6's.

k6 itself runs it where it is on the PATH; no dependency of ours brings it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.load.server import loaded_gateway
from tests.gateway.front import Front
from tests.places import REPOSITORY

MODULES = Path(__file__).with_name("k6_modules")
SCRIPT = REPOSITORY / "deploy" / "load" / "k6.js"
NODE = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))

K6 = shutil.which("k6")

pytestmark = pytest.mark.skipif(NODE is None and K6 is None, reason="there is neither node nor k6 here")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway."""
    with loaded_gateway(tmp_path_factory.mktemp("front")) as front:
        yield front


def run(folder: Path, iterations: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script, so many times; its imports lead to our modules."""
    if NODE is None:
        pytest.skip("there is no node on this machine")
    text = re.sub(
        r"from 'k6(?:/(?:net/)?(\w+))?'",
        lambda found: f"from '{(MODULES / ((found[1] or 'k6') + '.mjs')).as_uri()}'",
        SCRIPT.read_text(encoding="utf-8"),
    )
    script = folder / "k6.mjs"
    script.write_text(text, encoding="utf-8")
    given = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LOAD_", "BABELCLIP_"))},
        "K6_FOLDER": str(SCRIPT.parent),
        "K6_PYTHON": sys.executable,
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}",
        **environment,
    }
    words = [str(NODE), str(MODULES / "run.mjs"), str(script), str(iterations)]
    return subprocess.run(words, cwd=REPOSITORY, env=given, capture_output=True, text=True)


def ran(folder: Path, iterations: int, **environment: str) -> dict[str, Any]:
    """Its options, and what its checks counted."""
    done = run(folder, iterations, **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_every_answer_is_right(transport: str, front: Front, tmp_path: Path) -> None:
    """Texts, photographs and bad items in one request: those have their errors, the others vectors."""
    found = ran(
        tmp_path,
        2,
        BABELCLIP_URL=getattr(front.addresses, transport),
        LOAD_KEYS=f"{front.key}, {front.key}",
        LOAD_ITEMS="12",
        LOAD_IMAGES_SHARE="0.5",
        LOAD_BAD_SHARE="0.5",
    )
    assert len(found["counts"]) == 2
    assert all(count == {"passes": 2, "fails": 0} for count in found["counts"].values())


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_refusal_is_seen(transport: str, front: Front, tmp_path: Path) -> None:
    """A load test with a wrong key does not pass for one that was served."""
    address = getattr(front.addresses, transport)
    found = ran(tmp_path, 1, BABELCLIP_URL=address, BABELCLIP_TOKEN="bck_wrong")
    assert all(count == {"passes": 0, "fails": 1} for count in found["counts"].values())


def test_the_profile_becomes_stages(tmp_path: Path) -> None:
    """A spike goes from a fifth to all of the rate at once and back, in whole requests a minute."""
    options = ran(tmp_path, 0, LOAD_PROFILE="spike", LOAD_RATE="50", LOAD_SECONDS="10", LOAD_P99_MS="200")[
        "options"
    ]
    (scenario,) = options["scenarios"].values()
    assert (scenario["executor"], scenario["timeUnit"], scenario["startRate"]) == (
        "ramping-arrival-rate",
        "1m",
        600,
    )
    assert [(stage["target"], stage["duration"]) for stage in scenario["stages"]] == [
        (600, "4000ms"),
        (3000, "0ms"),
        (3000, "2000ms"),
        (600, "0ms"),
        (600, "4000ms"),
    ]
    assert options["thresholds"]["http_req_duration"] == ["p(99)<=200"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BABELCLIP_URL", "127.0.0.1", "is no address"),
        ("LOAD_PROFILE", "wave", "none of steady, ramp, spike, soak"),
        ("LOAD_RATE", "fast", "a number from 1"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, words: str, tmp_path: Path) -> None:
    """A mistyped variable ends the test before a request is sent."""
    done = run(tmp_path, 1, **{name: value})
    assert done.returncode != 0
    assert f"{name}={value}" in done.stderr
    assert words in done.stderr


@pytest.mark.slow  # loads a server for seconds
@pytest.mark.skipif(K6 is None, reason="there is no k6 on this machine")
@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("right", [True, False])
def test_k6_itself(right: bool, transport: str, front: Front) -> None:
    """k6 keeps its thresholds where the gateway answers rightly, and ends with 99 where it refuses."""
    given = {
        "BABELCLIP_URL": getattr(front.addresses, transport),
        "BABELCLIP_TOKEN": front.key if right else "bck_wrong",
        "LOAD_PROFILE": "soak",
        "LOAD_ITEMS": "4",
        "LOAD_BAD_SHARE": "0.3",
        "LOAD_SECONDS": "3",
        "LOAD_P99_MS": "1e6",
    }
    words = [str(K6), "run", "--quiet", "--no-usage-report"]
    words += [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    done = subprocess.run([*words, str(SCRIPT)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == (0 if right else 99), done.stdout + done.stderr
    assert ("✓ the right items failed" in done.stdout) is right
