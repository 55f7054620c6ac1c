"""Archives from before the handlers had rooms are served as they were: same vectors, same errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from babelclip import Client
from tests.e2e.support import Server, launched
from tests.handlers.former import make_former_store
from tests.places import SAMPLES

TEXTS = ["a red heart", "un chat noir", "自行车", "ጥቁር ድመት", "кофе " * 300]
IMAGES = [str(path) for path in sorted(SAMPLES.glob("*.png"))[:6]]
MIN_COSINE = 0.99999

# The process finds no other package of this name: the handlers are those of the archive.
IN_PROCESS = """
import importlib.util, json, sys
import numpy as np
from babelclip import Client
store, texts, images, target = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
with Client(f"mar:{store}") as client:
    found = {"texts": client.embed_texts(texts), "images": client.embed_images(images)}
    refused = client.embed_images([b"no image"], errors="return")
flat = importlib.util.find_spec("handlers.runner") is not None
codes = [error.code for error in refused.errors]
np.savez(target, flat=flat, codes=codes, **{kind: result.vectors for kind, result in found.items()})
"""


@pytest.fixture(scope="module")
def former_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the session with the handlers of before."""
    target = tmp_path_factory.mktemp("former") / "store"
    make_former_store(store, target)
    return target


@pytest.fixture(scope="module")
def todays(server: Server) -> dict[str, np.ndarray]:
    """The vectors of today's archives, from the session's server."""
    return embedded(server)


def embedded(server: Server) -> dict[str, np.ndarray]:
    with Client(server.http, token=server.key("inference")) as client:
        return {
            "texts": client.embed_texts(TEXTS).vectors,
            "images": client.embed_images(IMAGES).vectors,
        }


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for kind, rows in expected.items():
        assert (found[kind] * rows).sum(axis=1).min() >= MIN_COSINE, kind


def test_in_process(former_store: Path, todays: dict[str, np.ndarray], tmp_path: Path) -> None:
    """`mar:` runs the archive's own package, whatever its modules are called."""
    target = tmp_path / "found.npz"
    words = [str(former_store), json.dumps(TEXTS), json.dumps(IMAGES), str(target)]
    environment = {**os.environ, "BABELCLIP_DTYPE": "float32"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as found:
        assert found["flat"]
        assert found["codes"].tolist() == ["image_undecodable"]
        assert_same(found, todays)


def test_by_torchserve(
    former_store: Path,
    todays: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """scripts/serve starts a store of before: its manifest is read, its workers answer, its probes pass."""
    monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
    ports = ("--ports", "auto", "--queue-metrics-port", "0")
    with launched("--store", former_store, "--run-dir", tmp_path / "run", *ports) as launcher:
        server = launcher.wait_ready()
        assert_same(embedded(server), todays)
        with Client(server.http, token=server.key("inference")) as client:
            assert client.health() == server.space
