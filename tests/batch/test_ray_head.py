"""A cluster that loses its head, or a node that does not answer: what is finished stays, the rest is done."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from babelclip.cli.console import FAILED
from batch.engines import head
from batch.engines.base import EngineError
from batch.engines.head import Head
from tests.batch.ray_cluster import RunningCluster, running_cluster, silence
from tests.batch.support import PATIENCE, WAIT, contents, embed, finished, image_job, make_shards, wait_for
from tests.places import REPOSITORY

pytest.importorskip("ray", reason="ray is not installed")
COMMAND = """
import sys
import batch.__main__ as command
from batch.engines import head
from tests.batch.support import MemoryModel
head.PATIENCE = 5.0
command.model_of = lambda url, token_file: MemoryModel()
sys.exit(command.main(sys.argv[1:]))
"""
ENDS = PATIENCE
"""Seconds, of which the patience with a head is 5: a driver does not hang for good."""


def test_a_head_that_answers_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may fail for a while, as when it is started again."""
    monkeypatch.setattr(head, "_EVERY", 0.01)
    asked = threading.Event()
    answers = iter([None, ConnectionError("no route"), None])

    def ask() -> None:
        answer = next(answers, None)
        if answer is not None:
            raise answer
        asked.set()

    watched = Head("127.0.0.2:6379", ask)
    try:
        assert asked.wait(ENDS)
        watched.check()
    finally:
        watched.close()


@pytest.mark.parametrize("how", ["fails", "waits"])
def test_a_head_that_is_silent_ends_the_job(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a question fails or is never answered; the error says what may be done."""
    monkeypatch.setattr(head, "_EVERY", 0.01)
    monkeypatch.setattr(head, "PATIENCE", 0.2)
    go = threading.Event()

    def ask() -> None:
        if how == "fails":
            raise ConnectionError("no route")
        go.wait()

    watched = Head("127.0.0.2:6379", ask)
    try:
        end = time.monotonic() + ENDS
        while not watched.gone:
            assert time.monotonic() < end
        with pytest.raises(EngineError, match=r"127\.0\.0\.2:6379 has not answered .* same command goes on"):
            watched.check()
    finally:
        watched.close()
        go.set()


@contextmanager
def driver(tmp_path: Path, cluster: RunningCluster, **needs: float) -> Iterator[subprocess.Popen[str]]:
    """`python -m batch embed` of the folder `in` into `out`, by one actor, which is killed at the end."""
    script = tmp_path / "driver.py"
    script.write_text(COMMAND, encoding="utf-8")
    words = ["embed", str(tmp_path / "in"), str(tmp_path / "out"), "--batch", "2", "--engine", "ray"]
    words += ["--address", cluster.address, "--num-actors", "1"]
    words += ["--resources", str(needs).replace("'", '"'), "--cpus-per-actor", "0"] if needs else []
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}"}
    process = subprocess.Popen(
        [sys.executable, str(script), *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """The outputs of the same job by a process of this machine."""
    embed(image_job(tmp_path / "in"), tmp_path / "calm")
    return contents(tmp_path / "calm")


@pytest.mark.slow  # starts clusters, and kills
def test_a_killed_head_ends_the_job_in_time(tmp_path: Path) -> None:
    """With a sentence and not with Ray's abort; on another cluster the same command does the rest."""
    make_shards(tmp_path / "in", 4, i2_1=WAIT + os.fsencode(tmp_path / "go"))
    with running_cluster({"num_cpus": 1}) as cluster, driver(tmp_path, cluster) as process:
        wait_for(tmp_path / "go.met")
        cluster.kill_head()
        _, said = process.communicate(timeout=ENDS)
        assert process.returncode == FAILED
        assert f"batch: the head of the Ray cluster at {cluster.address} has not answered for 5 s" in said
        assert "Traceback" not in said
    assert finished(tmp_path / "out") == {0, 1}
    (tmp_path / "go").touch()
    with running_cluster({"num_cpus": 1}) as cluster, driver(tmp_path, cluster) as process:
        process.communicate()
        assert process.returncode == 0
    assert contents(tmp_path / "out") == undisturbed(tmp_path)


@pytest.mark.slow  # starts a cluster, and stops
def test_a_node_that_does_not_answer_costs_its_shards_again(tmp_path: Path) -> None:
    """Its actor is taken for dead and goes on writing beside the one in its place: nothing is there twice."""
    make_shards(tmp_path / "in", 3, i1_1=WAIT + os.fsencode(tmp_path / "go"))
    node: dict[str, Any] = {"num_cpus": 0, "resources": {"doomed": 1}}
    with running_cluster(node, node) as cluster, driver(tmp_path, cluster, doomed=0.6) as process:
        wait_for(tmp_path / "go.met")
        (tmp_path / "go.met").unlink()
        silence(node_of_actor(cluster))
        wait_for(tmp_path / "go.met")  # of the actor that took its place
        (tmp_path / "go").touch()
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "shard 1 is tried again" in said
    assert contents(tmp_path / "out") == undisturbed(tmp_path)


def node_of_actor(cluster: RunningCluster) -> dict[str, Any]:
    """The node on which the one actor is: it is a child of that node's raylet."""
    (found,) = [
        node
        for node in cluster.nodes
        if any("ShardActor" in " ".join(child.cmdline()) for child in node["raylet"].children(recursive=True))
    ]
    return found
