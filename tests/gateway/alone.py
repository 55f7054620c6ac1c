"""A gateway before an engine in memory, as a process of its own, whose memory can be measured.

    python -m tests.gateway.alone FOLDER [SETTING=VALUE …]

It prints one line `listening: {JSON}`, with the addresses and a key, and ends when its input does.
"""

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.gateway.engine import Engine
from tests.gateway.front import gateway
from tests.places import REPOSITORY


@dataclass(frozen=True)
class Alone:
    """Where it listens, a key that it lets in, and its process."""

    http: str
    grpc: str
    key: str
    process: psutil.Process

    def megabytes(self) -> float:
        """Memory that it holds now."""
        return float(self.process.memory_info().rss) / 2**20


@contextlib.contextmanager
def alone(**settings: int) -> Iterator[Alone]:
    """The process, while the block runs; its settings are numbers. It must end well."""
    with tempfile.TemporaryDirectory() as folder:
        given = [f"{name}={value}" for name, value in settings.items()]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.alone", folder, *given],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().removeprefix("listening: ")
            yield Alone(**json.loads(line), process=psutil.Process(process.pid))
        finally:
            process.stdin.close()
            with process.stdout:
                ended = process.wait()
        assert ended == 0


def main(arguments: list[str]) -> None:
    """The process itself."""
    settings = {name: int(value) for name, _, value in (given.partition("=") for given in arguments[1:])}
    # Without LanceDB there can be no collections, and what is tried on them finds none.
    kept = f"{arguments[0]}/collections" if importlib.util.find_spec("lancedb") else ""
    with gateway(Engine(), Path(arguments[0]), collections=kept, **settings) as front:
        facts = {**asdict(front.addresses), "key": front.key}
        del facts["metrics"]
        print(f"listening: {json.dumps(facts)}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
