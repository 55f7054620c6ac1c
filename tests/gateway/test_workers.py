"""A gateway of several processes: they share its ports, one that dies is replaced, and a stop is in order."""

import contextlib
import json
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from babelclip.keys.file import add
from gateway import serve
from gateway.rpc import embedder_pb2 as pb
from gateway.workers import _listeners
from tests.clients.fake_server import FakeServer, http_server
from tests.e2e.support import PATIENCE, summed
from tests.gateway.test_metrics import eventually
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # starts gateways of several processes


class Processes:
    """`python -m gateway` with two workers before a fake engine, and what it has said."""

    def __init__(self, engine: FakeServer, folder: Path, *lines: str) -> None:
        self.engine = engine
        self.key = add(folder / "keys.json", "test")
        config = folder / "gateway.toml"
        free = ("workers = 2", "port = 0", "grpc_port = 0", "metrics_port = 0", "probe_seconds = 0.1")
        opened = ("metrics_host = '0.0.0.0'", f"engine_metrics = '{engine.url}/nothing'")
        places = (
            f"keys_file = '{folder / 'keys.json'}'",
            f"engine = '{engine.url}'",
            "engine_token_file = ''",
        )
        config.write_text("\n".join([*free, *opened, *places, *lines]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(config), "--until-eof"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._arriving.put(line)
        self._arriving.put(None)

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches."""
        while (line := self._arriving.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("the gateway ended:\n" + "".join(self.lines))

    def wait_listening(self) -> None:
        """Wait until all workers serve."""
        self.addresses = json.loads(self.said("^listening: (.*)")[1])
        self.pids = {
            int(found[1]): int(found[2])
            for line in self.lines
            if (found := re.search(r"worker (\d) serves, as process (\d+)", line))
        }

    def post(self, text: str, client: httpx.Client | None = None) -> httpx.Response:
        """One text, over a connection of its own unless a client is given."""
        headers = {"authorization": f"Bearer {self.key}"}
        post = httpx.post if client is None else client.post
        return post(
            f"{self.addresses['http']}/v1/embeddings", json={"input": text}, headers=headers, timeout=PATIENCE
        )

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        text = httpx.get(self.addresses["metrics"], timeout=PATIENCE).text
        return summed(text, f"babelclip_gateway_{name}", **labels)

    def wait_ended(self) -> int:
        """Wait for the end; `lines` then holds everything that was said."""
        status = self.process.wait(PATIENCE)
        while (line := self._arriving.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return status

    def close(self) -> None:
        """End it if it has not ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self._reading.join()


@contextlib.contextmanager
def processes(folder: Path, *lines: str) -> Iterator[Processes]:
    """A gateway of two processes with these settings; it is stopped at the end."""
    with contextlib.closing(http_server()) as engine:
        running = Processes(engine, folder, *lines)
        try:
            yield running
        finally:
            engine.released.set()
            running.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A gateway whose processes may be killed, and come back."""
    with processes(tmp_path_factory.mktemp("workers")) as running:
        running.wait_listening()
        yield running


def test_connections_are_spread_over_the_processes(shared: Processes) -> None:
    """Each worker answers over HTTP, and each over gRPC, at the one address of each."""

    def embed() -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        target = shared.addresses["grpc"].removeprefix("grpc://")
        request = pb.EmbedItemsRequest(items=[pb.Item(text="a")]).SerializeToString()
        with grpc.insecure_channel(target, options=options) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/babelclip.v1.Embedder/Embed"
            )
            call(request, metadata=(("authorization", f"Bearer {shared.key}"),), timeout=PATIENCE)

    def served(call: str) -> bool:
        return all(shared.counted("requests_total", call=call, worker=str(number)) for number in (0, 1))

    give_up = time.monotonic() + PATIENCE
    while not (served("/v1/embeddings") and served("Embed")):
        assert time.monotonic() < give_up
        assert shared.post("a").status_code == 200
        embed()

    def ready(number: str) -> bool:
        return shared.counted("model_ready", model="clip", worker=number) == 1

    for number in ("0", "1"):
        assert shared.counted("worker_up", worker=number) == 1
        eventually(partial(ready, number))


def test_one_port_has_the_metrics_of_all_and_of_the_engine(shared: Processes) -> None:
    """The processes' own stay on loopback; what shows all of them is opened, and asks the engine."""
    assert shared.addresses["metrics"].startswith("http://0.0.0.0:")
    answer = httpx.get(f"{shared.addresses['metrics']}/engine", timeout=PATIENCE)
    assert (answer.status_code, "the engine tells nothing" in answer.text) == (503, True)
    opened = {
        one.laddr.port for pid in shared.pids.values() for one in listening(pid) if one.laddr.ip == "0.0.0.0"
    }
    assert not opened


def listening(pid: int) -> list[Any]:
    """Where a process listens."""
    return [one for one in psutil.Process(pid).net_connections("tcp") if one.status == psutil.CONN_LISTEN]


def test_a_process_that_dies_costs_its_own_calls_alone(shared: Processes) -> None:
    """The others go on, whoever connects meanwhile is served, another is started, and the log says so."""
    stop = threading.Event()
    failed: list[httpx.HTTPError] = []

    def ask() -> int:
        answered = 0
        while not stop.is_set():
            try:
                assert shared.post("b").status_code == 200
                answered += 1
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:  # It was being answered.
                failed.append(error)
        return answered

    old = shared.pids[1]
    with ThreadPoolExecutor(4) as pool:
        try:
            askers = [pool.submit(ask) for _ in range(4)]
            psutil.Process(old).kill()
            ended = shared.said(r"worker 1, process (\d+), ended by signal 9; starting another")
            new = shared.said(r"worker 1 serves, as process (\d+)")
            assert int(ended[1]) == old != int(new[1])
            # Its connections, over HTTP and gRPC, are taken again.
            eventually(lambda: shared.counted("requests_total", call="/v1/embeddings", worker="1"))
        finally:
            stop.set()
        assert sum(asker.result(PATIENCE) for asker in askers)
    assert len(failed) <= len(askers)  # each had one under way
    assert shared.process.poll() is None


def test_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    """SIGTERM ends all processes, once each has answered; nobody new is let in; the end is a clean one."""
    with processes(tmp_path) as running:
        running.wait_listening()
        engine = running.engine
        engine.seconds_per_item, engine.hanging = 1e-6, {b"slow"}
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(running.post, "slow") for _ in range(8)]
            eventually(lambda: running.counted("requests_in_progress", call="/v1/embeddings") == 8)
            running.process.send_signal(signal.SIGTERM)
            port = httpx.URL(running.addresses["http"]).port
            eventually(lambda: _refused(port))
            assert running.process.poll() is None
            engine.released.set()
            assert [call.result(PATIENCE).status_code for call in asked] == [200] * 8
        assert running.wait_ended() == 0, running.lines
    text = "".join(running.lines)
    assert "Traceback" not in text
    assert "starting another" not in text
    assert not any(psutil.pid_exists(pid) for pid in running.pids.values())


def _refused(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port or 0)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Killed outright, it can end nothing; what it leaves would keep the ports."""
    with processes(tmp_path) as running:
        running.wait_listening()
        workers = [psutil.Process(pid) for pid in running.pids.values()]
        running.process.kill()
        eventually(lambda: not any(worker.is_running() for worker in workers))


def test_a_file_that_is_missing_is_said_once(tmp_path: Path) -> None:
    """Each of the processes finds it missing, and the operator reads one line."""
    tls = ("tls_certificate = 'missing.pem'", "tls_key = 'missing.pem'")
    with processes(tmp_path, *tls) as running:
        assert running.wait_ended() == 1
    (line,) = running.lines
    assert line == "gateway: cannot use the TLS certificate and key: No such file or directory\n"


@pytest.mark.parametrize(("variable", "listener"), [("PORT", "http"), ("GRPC_PORT", "grpc")])
def test_a_port_of_another_gateway_is_not_shared_with_it(
    shared: Processes, variable: str, listener: str
) -> None:
    """Its processes share their ports with one another alone."""
    port = str(httpx.URL(shared.addresses[listener]).port)
    settings = {"PORT": "0", "GRPC_PORT": "0", "WORKERS": "2", "AUTHENTICATION": "false", variable: port}
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        cwd=REPOSITORY,
        env={f"BABELCLIP_GATEWAY_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr == f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_an_answer_is_not_held_back_for_an_acknowledgement() -> None:
    """A body leaves without waiting for its head to be acknowledged, with one process and with several."""
    one, several = [serve.listen("127.0.0.1", 0)], _listeners("127.0.0.1", 0, 2)
    with contextlib.ExitStack() as opened:
        for listener in (*one, *several):
            opened.enter_context(listener)
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        opened.enter_context(socket.create_connection(one[0].getsockname()))
        accepted = opened.enter_context(one[0].accept()[0])
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
