"""`python -m gateway` for the end-to-end tests: as a process, before a real TorchServe."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

from babelclip.keys.entries import DEFAULT_SCOPES, Scope
from babelclip.keys.file import add
from tests.e2e.support import PATIENCE, Server
from tests.places import REPOSITORY


@dataclass(frozen=True)
class Gateway:
    """Where a gateway listens, and a key that it lets in."""

    addresses: dict[str, str]
    key: str

    def sdk(self) -> openai.OpenAI:
        """OpenAI's SDK, set to the gateway as docs/gateway.md says."""
        return openai.OpenAI(base_url=f"{self.addresses['http']}/v1", api_key=self.key, max_retries=0)

    def post(self, body: object) -> httpx.Response:
        """One call of /v1/embeddings."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.post(f"{self.addresses['http']}/v1/embeddings", json=body, headers=headers, timeout=60)


@contextlib.contextmanager
def started(folder: Path, server: Server, *, scopes: Sequence[Scope] = DEFAULT_SCOPES) -> Iterator[Gateway]:
    """`python -m gateway` before a server, as an operator starts it, with a key of these scopes."""
    key = add(folder / "keys.json", "test", scopes=scopes)
    config = folder / "gateway.toml"
    config.write_text(
        f"port = 0\ngrpc_port = 0\nmetrics_port = 0\nengine = '{server.grpc}'\n"
        f"engine_token_file = '{server.token_file}'\nkeys_file = '{folder / 'keys.json'}'\n[models.mini]\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "--config", str(config)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = next((line for line in process.stdout if line.startswith("listening: ")), "")
        assert line, "the gateway ended instead of listening"
        yield Gateway(json.loads(line.removeprefix("listening: ")), key)
    finally:
        process.terminate()
        with process.stdout:
            assert process.wait(PATIENCE) == 0
