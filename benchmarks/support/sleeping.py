"""A replica whose towers sleep: a real gateway before an engine in its process that computes nothing.

    python -m benchmarks.support.sleeping --keys-file keys.json --version 1.0 [--seconds 0.02]

Each tower does one message at a time and takes so long for each of its items, whatever else the machine does:
so replicas on one machine do not take each other's cores. Vectors come from a hash of item and version. The
last line is `ready: {JSON}` with the addresses, as scripts/serve has it. SIGUSR1 has it give wrong vectors
from then on, which its self-test finds.
"""

import argparse
import asyncio
import json
import signal
from dataclasses import asdict
from pathlib import Path

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.embeddings import Vectors
from babelclip.errors import CANARY_MISMATCH, ModelNotFound
from babelclip.testing import InMemoryTransport
from babelclip.transports.base import Call
from gateway import request_log, serve
from gateway.keys import KeyFile
from gateway.settings import Settings
from gateway.towers.engine import EngineTowers

MODEL = "clip"


class Hashed(InMemoryTransport):
    """Both towers of a version, whose vectors differ from those of others."""

    wrong = False

    def vector(self, item: str | bytes) -> Vectors:
        """float32 [dim] of length 1."""
        data = item.encode() if isinstance(item, str) else item
        return super().vector(f"{self.version} {self.wrong} ".encode() + data)


class SleepingEngine:
    """An engine of one version, to which a gateway sends; see `babelclip.AsyncTransport`.

    Args:
        seconds: for each item; a tower does one message at a time.
    """

    def __init__(self, version: str, seconds: float) -> None:
        self._answers = Hashed(space=f"sleeping {version}", version=version)
        self._seconds = seconds
        self._turns = {tower: asyncio.Lock() for tower in ("text", "vision")}

    def spoil(self) -> None:
        """Give wrong vectors from now on."""
        self._answers.wrong = True

    async def send(self, call: Call) -> bytes:
        """Sleep, and answer."""
        if call.version not in (None, self._answers.version):
            raise ModelNotFound(f"no {call.model} {call.version}")
        request = EmbedRequest.FromString(call.body)
        async with self._turns[call.model]:
            await asyncio.sleep(self._seconds * max(1, len(request.texts) + len(request.images)))
        if request.canary and self._answers.wrong:
            refused = EmbedResponse()
            refused.error.code = CANARY_MISMATCH
            refused.error.message = "the tower gives another vector than it did"
            return refused.SerializeToString()
        answer = self._answers.send(call)
        self._answers.calls.clear()  # It would keep them all.
        return answer

    async def close(self) -> None:
        """There is nothing to close."""


async def run(settings: Settings, version: str, seconds: float) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = serve.stop_on_signals(loop)
    engine = SleepingEngine(version, seconds)
    loop.add_signal_handler(signal.SIGUSR1, engine.spoil)
    models = serve.models_of({MODEL: EngineTowers(settings.engine, transport=engine)}, settings)

    def listening(addresses: serve.Addresses) -> None:
        print(f"ready: {json.dumps(asdict(addresses))}", flush=True)

    await serve.run(settings, models, KeyFile(settings.keys_file), listening, stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.support.sleeping", description=__doc__)
    parser.add_argument("--keys-file", type=Path, required=True)
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--seconds", type=float, default=0.02, help="for each item")
    for name in ("port", "grpc-port", "metrics-port"):
        parser.add_argument(f"--{name}", type=int, default=0)
    given = parser.parse_args()
    settings = Settings(
        port=given.port,
        grpc_port=given.grpc_port,
        metrics_port=given.metrics_port,
        keys_file=str(given.keys_file),
        versions_file="",
        probe_seconds=1.0,
    )
    request_log.set_up(enabled=False)
    with asyncio.Runner(loop_factory=serve.loop_factory()) as runner:
        runner.run(run(settings, given.version, given.seconds))


if __name__ == "__main__":
    main()
