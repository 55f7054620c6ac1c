"""Ray Serve behind the gateway: the same vectors, and nothing lost by deaths, promotions and the end."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest

from babelclip import Client, ModelNotFound
from babelclip.client.retry import Backoff
from babelclip.wire import TOWERS
from benchmarks.support.ray_server import add_version
from tests.e2e.ray_servers import RayServer, ray_served
from tests.e2e.support import PATIENCE, alive, launched, summed
from tests.needs import needs

needs("ray", "fastapi", reason="Ray Serve is not installed: scripts/setup ray")


TEXTS = ["a red heart", "ein rotes Herz", "ቀይ ልብ"]


@pytest.fixture(scope="module")
def served(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServer]:
    """A gateway before a cluster of its own, which computes in float32. A test adds a second version."""
    folder = tmp_path_factory.mktemp("ray")
    shutil.copytree(store, folder / "store", ignore=shutil.ignore_patterns("mini"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BABELCLIP_DTYPE", "float32")
        with ray_served(folder / "store", folder / "run") as running:
            yield running


def wait_for(holds: Callable[[], object]) -> None:
    """Wait for what must come to hold."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


class Load:
    """Callers that go on until the end of the test; each call must succeed, and stay in one space.

    Attributes:
        latest: the space of each caller's last answers.
        answered: calls of each caller.
    """

    def __init__(self, served: RayServer, images: list[bytes], *, attempts: int) -> None:
        self._served, self._images = served, images
        self._backoff = Backoff(attempts=attempts)
        self._stop = threading.Event()
        self._callers: list[Future[None]] = []
        self.latest: dict[int, str] = {}
        self.answered: dict[int, int] = {}

    def _call(self, number: int) -> None:
        transport = ("http", "grpc")[number % 2]
        while not self._stop.is_set():
            with self._served.client(transport, backoff=self._backoff, timeout=120.0) as client:
                texts = client.embed_texts([f"{TEXTS[0]} {number}", TEXTS[1]])
                pictures = client.embed_images(self._images)
            assert texts.space == pictures.space
            self.latest[number] = texts.space
            self.answered[number] = self.answered.get(number, 0) + 1

    def check(self) -> None:
        """Raises what ended a caller."""
        for caller in self._callers:
            assert not caller.done() or caller.result()

    def all_answered_since(self, before: dict[int, int]) -> bool:
        """Whether each caller has had more answers than before."""
        self.check()
        return all(self.answered.get(number, 0) > before.get(number, 0) + 1 for number in range(4))

    @contextmanager
    def running(self) -> Iterator[None]:
        """The callers; at the end each of them has had every answer."""
        with ThreadPoolExecutor(4) as pool:
            self._callers = [pool.submit(self._call, number) for number in range(4)]
            try:
                yield
            finally:
                self._stop.set()
            for caller in self._callers:
                caller.result(PATIENCE)


def test_the_gateway_gives_the_vectors_of_the_archives(
    served: RayServer, store: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP and gRPC they are those of the same archives in this process, and so is the space."""
    monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
    with Client(f"mar:{store}") as client:
        texts, pictures = client.embed_texts(TEXTS), client.embed_images(images)
    assert served.facts["space"] == texts.space
    for transport in ("http", "grpc"):
        with served.client(transport) as client:
            found, seen = client.embed_texts(TEXTS), client.embed_images(images)
        assert found.space == seen.space == texts.space
        assert list(found.tokens) == list(texts.tokens)
        np.testing.assert_allclose(found.vectors, texts.vectors, atol=2e-3)
        np.testing.assert_allclose(seen.vectors, pictures.vectors, atol=2e-3)


def test_poison_in_a_batch_costs_only_itself(served: RayServer, images: list[bytes]) -> None:
    """Whoever's items are computed together, each has its own outcome; no replica ends."""
    before = {tower: served.replica(tower).pid for tower in TOWERS}

    def call(number: int) -> list[tuple[int, str]]:
        with served.client("grpc") as client:
            if number % 2:
                found = client.embed_images([images[0], b"no image", images[1]], errors="return")
            else:
                found = client.embed_texts([TEXTS[0], "", TEXTS[1]], errors="return")
        assert found.ok.tolist() == [True, False, True]
        return [(error.index, error.code) for error in found.errors]

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(call, range(16)))
    assert codes == [[(1, "empty_item")], [(1, "image_undecodable")]] * 8
    assert before == {tower: served.replica(tower).pid for tower in TOWERS}


def test_nothing_is_reached_from_elsewhere(served: RayServer) -> None:
    """Neither the gateway nor any process of Ray listens beyond loopback, and Ray asks for a token."""
    assert served.listeners()
    assert served.listeners() <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    token = Path(served.facts["engine"]["token_file"])
    assert token.stat().st_mode & 0o777 == 0o600
    address = served.facts["engine"]["engine"].removeprefix("ray:").partition("#")[0]
    with grpc.insecure_channel(address) as channel:
        ask: Any = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        for shown in ((), (("authorization", f"Bearer {'0' * 64}"),)):
            with pytest.raises(grpc.RpcError) as refused:
                ask(b"", timeout=PATIENCE, metadata=shown)
            assert isinstance(refused.value, grpc.Call)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert ask(b"", timeout=PATIENCE, metadata=(("authorization", f"Bearer {token.read_text()}"),))


def test_the_metrics_of_the_handlers_arrive(served: RayServer) -> None:
    """What a tower counts is read at the gateway's port of metrics, with its labels."""
    address = f"{served.facts['metrics']}/engine"

    def embedded() -> bool:
        text = httpx.get(address, timeout=60).text
        names = {line.partition("{")[0] for line in text.splitlines() if "babelclip_items" in line}
        return any(
            summed(text, name, tower="text", version="1.0", code="ok") > 0
            for name in names
            if not name.startswith("#")
        )

    wait_for(embedded)


def test_the_death_of_a_replica_costs_no_request(served: RayServer, images: list[bytes]) -> None:
    """SIGKILL of both towers' processes under load: every call has its vectors, from new processes."""
    load = Load(served, images, attempts=4)
    with load.running():
        for tower in TOWERS:
            wait_for(lambda: load.all_answered_since({}))
            victim = served.replica(tower)
            victim.kill()
            before = dict(load.answered)
            wait_for(lambda before=before: load.all_answered_since(before))  # type: ignore[misc]
            assert victim.pid not in [one.pid for one in served.replicas(tower)]


def test_promotion_and_rollback_lose_nothing(served: RayServer, new_store: Path, images: list[bytes]) -> None:
    """A version comes in, is promoted and rolled back under load, without a repetition: no call fails, and no
    client has two spaces."""
    add_version(Path(served.facts["store"]), new_store)
    load = Load(served, images, attempts=1)
    with load.running():
        wait_for(lambda: load.all_answered_since({}))
        status, printed = served.manage("--once")
        assert status == 0, printed
        assert "deployed: babelclip-2.0" in printed
    with served.client("http", version="2.0") as client:
        spaces = {"1.0": served.facts["space"], "2.0": client.embed_texts(TEXTS).space}
    assert spaces["1.0"] != spaces["2.0"]
    load = Load(served, images, attempts=1)
    with load.running(), served.versions() as versions:
        wait_for(lambda: load.all_answered_since({}))
        for version in ("2.0", "1.0"):
            if version == "2.0":
                versions.promote(served.facts["model"], "2.0")
            else:
                versions.rollback(served.facts["model"])
            wanted = [spaces[version]] * 4

            def arrived(wanted: list[str] = wanted) -> bool:
                load.check()
                return list(load.latest.values()) == wanted

            wait_for(arrived)


def test_a_version_is_taken_out(served: RayServer) -> None:
    """Who names it is told that it is not there; the default one cannot be taken out."""
    status, printed = served.manage("--remove", "2.0")
    assert status == 0, printed
    with served.client("http", version="2.0") as client, pytest.raises(ModelNotFound):
        client.embed_texts(TEXTS)
    with served.client("http") as client:
        assert client.embed_texts(TEXTS).space == served.facts["space"]
    status, printed = served.manage("--remove", "1.0")
    assert status == 1
    assert "1.0 is the default of the cluster" in printed.splitlines()[-1]


def test_a_stop_answers_what_is_under_way_and_leaves_nothing(served: RayServer) -> None:
    """SIGTERM: the request has its answer, the status is 0, and no process or token of Ray is left."""
    token = Path(served.facts["engine"]["token_file"])
    family = served.launcher.family()
    assert len(family) > 8
    texts = [f"text {number}" for number in range(2048)]

    def embed() -> int:
        headers = {"authorization": f"Bearer {served.key}"}
        body = {"input": texts, "model": served.facts["model"], "encoding_format": "base64"}
        url = f"{served.facts['http']}/v1/embeddings"
        return httpx.post(url, json=body, headers=headers, timeout=PATIENCE).status_code

    def under_way() -> bool:
        seen = summed(httpx.get(served.facts["metrics"]).text, "babelclip_gateway_requests_in_progress")
        return bool(seen) or asked.done()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(embed)
        wait_for(under_way)
        served.launcher.process.send_signal(signal.SIGTERM)
        assert asked.result(PATIENCE) == 200
    status, printed = served.launcher.wait_ended()
    assert status == 0, printed
    assert "Traceback" not in printed
    wait_for(lambda: not alive(family))
    assert not token.exists()
    assert psutil.pid_exists(served.launcher.process.pid) is False


def test_what_cannot_be_served_is_one_sentence(store: Path, tmp_path: Path) -> None:
    """A typing error is no stack trace; and no cluster is started for it."""
    for words, says in (
        (("--store", tmp_path / "empty"), "is no model store"),
        (("--store", store, "--address", "127.0.0.1:1"), "no cluster of Ray at 127.0.0.1:1"),
        (("--store", store, "--replicas", "0"), "at least 1 replica"),
    ):
        arguments = ("--engine", "ray", "--no-gateway", "--run-dir", tmp_path / "run", *words)
        with launched(*arguments, "--ports", "auto", script="serve.py") as launcher:
            status, printed = launcher.wait_ended()
        assert status == 1, printed
        assert says in printed.splitlines()[-1]
        assert "Traceback" not in printed
