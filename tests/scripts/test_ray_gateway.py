"""The gateway on a node of a Ray cluster: what starts both, and that neither is left without the other."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray_gateway

from gateway.settings import PREFIX, read
from serving import LaunchError, gateway
from tests.clients.operated import make_store
from tests.e2e.support import PATIENCE

FREE = {f"{PREFIX}{name}": "0" for name in ("PORT", "GRPC_PORT", "METRICS_PORT")}
# In place of a gateway and of a node: they run until SIGTERM, and say that they end.
WAITS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('{0} ends'), sys.exit(0)));"
GATEWAY = WAITS.format("gateway") + "print('listening: {}', flush=True); signal.pause()"
NODE = f"{sys.executable} -u -c \"{WAITS.format('node')} print('Ray runtime started.'); signal.pause()\""


class Running:
    """The script in this process, with a gateway and a node in the places of theirs.

    Attributes:
        said: its lines.
        stop: set as by SIGTERM.
    """

    def __init__(self, patch: pytest.MonkeyPatch, store: Path, node: str, front: str) -> None:
        self.said: list[str] = []
        self.stop = threading.Event()
        self._arrived = threading.Condition()
        for name, value in {**FREE, ray_gateway.START: node}.items():
            patch.setenv(name, value)
        patch.setattr(ray_gateway, "say", self._say)
        patch.setattr(gateway, "command", lambda _: [sys.executable, "-u", "-c", front])
        options = ray_gateway.parse_options(["--store", str(store)])
        self.ended = ThreadPoolExecutor(1).submit(ray_gateway.run, options, self.stop)

    def _say(self, line: str) -> None:
        with self._arrived:
            self.said.append(line)
            self._arrived.notify_all()

    def wait_for(self, *parts: str) -> None:
        """Wait until a line begins with each of these."""

        def begun() -> bool:
            return all(any(line.startswith(part) for line in self.said) for part in parts)

        with self._arrived:
            assert self._arrived.wait_for(begun, PATIENCE), self.said


def test_the_gateway_ends_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it answers what is under way it needs the node that its towers are called through."""
    running = Running(monkeypatch, make_store(tmp_path / "store", "1.0"), NODE, GATEWAY)
    running.wait_for("Ray runtime started.", "listening: {")
    running.stop.set()
    running.ended.result(PATIENCE)
    assert running.said[0] == "Ray runtime started."
    assert running.said[-2:] == ["gateway ends", "node ends"]


@pytest.mark.parametrize(
    ("node", "front", "says"),
    [("exit 7", GATEWAY, "the node ended with status 7"), (NODE, "", "the gateway ended with status 0")],
)
def test_neither_is_left_without_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, front: str, says: str
) -> None:
    """A gateway without its node would answer errors for ever; both end, and the pod begins anew."""
    store = make_store(tmp_path / "store", "1.0")
    running = Running(monkeypatch, store, f"bash -c '{node}'" if node != NODE else NODE, front)
    with pytest.raises(LaunchError, match=f"{says}, and all else with it"):
        running.ended.result(PATIENCE)


def test_the_gateway_calls_the_cluster_of_its_node(tmp_path: Path) -> None:
    """The engine is the cluster whatever the environment says, and the model has the store's name."""
    options = ray_gateway.parse_options(["--store", str(make_store(tmp_path / "store", "1.0"))])
    given = {f"{PREFIX}ENGINE": "grpc://127.0.0.1:7070", f"{PREFIX}KEYS_FILE": "/run/secrets/keys.json"}
    given["BABELCLIP_TOKEN_FILE"] = "/run/babelclip/key_file.json"  # As images have it, of TorchServe.
    made = ray_gateway.gateway_environment(options, given | FREE)
    assert "BABELCLIP_TOKEN_FILE" not in made
    settings = read(None, made)
    assert (settings.engine, settings.engine_token_file) == ("ray:auto", "")
    assert settings.keys_file == "/run/secrets/keys.json"
    assert list(settings.models) == ["mini"]


def test_a_command_keeps_its_quotes() -> None:
    """KubeRay quotes what Ray is to read as JSON, and the shell takes the quotes off."""
    words = ray_gateway.node_command({ray_gateway.START: """printf %s '{"HPU": 2}'"""})
    assert subprocess.run(words, capture_output=True, text=True).stdout == '{"HPU": 2}'


def test_what_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a command or a store nothing is started, and no stack trace is shown."""
    monkeypatch.setattr(ray_gateway, "stop_on_signals", threading.Event)
    monkeypatch.delenv(ray_gateway.START, raising=False)
    store = make_store(tmp_path / "store", "1.0")
    assert ray_gateway.main(["--store", str(store)]) == 1
    assert f"{ray_gateway.START} must be the command that starts a node" in capsys.readouterr().err
    monkeypatch.setenv(ray_gateway.START, "sleep 900")
    assert ray_gateway.main(["--store", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "is no model store" in said
    assert len(said.splitlines()) == 1
