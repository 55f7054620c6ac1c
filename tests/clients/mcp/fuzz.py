"""Send the MCP server thousands of calls with arbitrary arguments, and see that it keeps its promises.

    python -m tests.clients.mcp.fuzz --calls 5000 [--seed N]

calls the tools and resources of an index and of a collection by the SDK's own client, in this process. It
fails, with exit status 1, where an answer is no answer (an exception that is none of the protocol's), tells
more than a sentence of an error, or of this machine's files. Tools and arguments are those that the server
itself describes.

The last line is `result: {JSON}` with calls, answered, refused and failures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clients.retrievers.library import library
from tests.fuzz import contents
from tests.gateway.fuzz_values import instance
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from babelclip.mcp import ImageServer

LONGEST = 1_500  # characters of an error's sentence
SECRETS = ("Traceback", "site-packages", '.py"', str(REPOSITORY))
IDS = ("beach", "city", "nothing", "..", "\0", "x" * 1200, "%00", "a/b")


def fuzz(server: ImageServer, calls: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Make so many calls → how often each kind of answer came, and what was wrong."""
    from mcp import Client, MCPError

    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    failures: list[str] = []

    async def run() -> None:
        async with Client(server) as client:
            tools = (await client.list_tools()).tools
            for number in range(calls):
                tool = rng.choice(tools)
                asked = _arguments(rng, tool.input_schema)
                try:
                    if rng.random() < 0.1:
                        await client.read_resource(
                            f"babelclip://{rng.choice(('library', 'original', 'items'))}/{rng.choice(IDS)}"
                        )
                        counts["resource"] += 1
                        continue
                    answer = await client.call_tool(tool.name, asked)
                except MCPError as error:
                    counts["refused by the protocol"] += 1
                    said = str(error)
                else:
                    counts["error" if answer.is_error else "answered"] += 1
                    said = answer.model_dump_json() if answer.is_error else ""
                if wrong := next((secret for secret in SECRETS if secret in said), None):
                    failures.append(f"seed {seed} call {number}, {tool.name}: {wrong!r} in {said[:300]}")
                elif len(said) > LONGEST:
                    failures.append(
                        f"seed {seed} call {number}, {tool.name}: {len(said)} characters: {said[:300]}"
                    )

    asyncio.run(run())
    return counts, failures


def _arguments(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    """What a tool describes, or nearly so, of values that JSON has."""
    given = instance(rng, {**schema, "properties": schema["properties"]})
    if not isinstance(given, dict):
        given = {"query": given}
    if "id" in schema["properties"] and rng.random() < 0.5:
        given["id"] = rng.choice(IDS)
    if rng.random() < 0.1:
        given[contents.words(rng)[:50]] = contents.value(rng)
    # Once as JSON and back: half characters and numbers that are none cannot be sent.
    written = json.dumps(given).replace("NaN", "0").replace("Infinity", "1")
    found: dict[str, Any] = json.loads(written.encode("utf-8", "replace"))
    return {name.encode("utf-8", "replace").decode(): _sendable(value) for name, value in found.items()}


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_sendable(one) for one in value]
    if isinstance(value, dict):
        return {_sendable(name): _sendable(one) for name, one in value.items()}
    return max(-(2**63), min(value, 2**63 - 1)) if isinstance(value, int) else value


def main(arguments: list[str]) -> int:
    """The command; its exit status."""
    from babelclip.mcp import CollectionLibrary, IndexLibrary, build_server

    parser = argparse.ArgumentParser(prog="python -m tests.clients.mcp.fuzz")
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder, library(Path(folder)) as images:
        for kept in (IndexLibrary(images.searcher, ()), CollectionLibrary(images.client)):
            found, wrong = fuzz(build_server(kept), options.calls // 2, options.seed)
            counts += found
            failures += wrong
    for line in failures:
        print(f"failure: {line}")
    print(f"result: {json.dumps({'calls': options.calls, **counts, 'failures': len(failures)})}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
