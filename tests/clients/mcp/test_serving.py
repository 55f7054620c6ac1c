"""The command `babelclip mcp` as a process of its own, asked by the SDK's client as desktop clients do."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from babelclip.cli.main import app
from babelclip.index import Row, Settings, create_index
from tests.clients.fake_server import DIM, SPACE, FakeServer, http_server, vector_of
from tests.clients.retrievers.library import Library, thumbnail
from tests.e2e.support import PATIENCE
from tests.needs import needs

needs("lancedb", reason="an index in a folder is kept by LanceDB")


pytestmark = [
    pytest.mark.slow,  # starts processes
    pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="the SDK of MCP is not installed"),
]

COMMAND = str(Path(sys.executable).with_name("babelclip"))


@pytest.fixture(scope="module")
def web() -> Iterator[FakeServer]:
    """A server that embeds, for all tests."""
    fake = http_server()
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with two images, of which one is what the text "beach" is to the server."""
    folder = tmp_path_factory.mktemp("index")
    with create_index(folder / "photographs", Settings(space=SPACE, dim=DIM, version="1.0")) as made:
        rows = [
            Row(id=name, source=f"{name}.jpg", vector=vector_of(name.encode()), thumbnail=thumbnail(seed))
            for seed, name in enumerate(("beach", "city"), 1)
        ]
        made.upsert(rows, space=SPACE)
    return folder / "photographs"


@contextlib.contextmanager
def serving(index: Path, url: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command over HTTP, on a free port: its address, and the process."""
    command = [COMMAND, "mcp", "--index", str(index), "--url", url, "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("listening: "), said + process.stderr.read()
            yield said.removeprefix("listening: ").strip(), process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def address(index: Path, web: FakeServer) -> Iterator[str]:
    """Where the tools of the index are served."""
    with serving(index, web.url) as (address, _):
        yield address


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_desktop_client_starts_it_and_searches(images: Library, mode: str) -> None:
    """Over standard input and output nothing but the protocol is said, whatever is logged."""
    from mcp import StdioServerParameters

    from tests.clients.mcp.asking import ask, found, pictures, refused

    front = images.front
    parameters = StdioServerParameters(
        command=COMMAND,
        args=["mcp", "--collection", "shared", "--url", front.addresses.http],
        env={"BABELCLIP_TOKEN": front.key},
    )

    async def talk(client: Any) -> list[Any]:
        return [
            await client.list_tools(),
            await client.call_tool("search_images", {"query": "plage", "limit": 1}),
            await client.call_tool("similar_images", {"id": "never"}),
            await client.call_tool("classify_image", {"labels": ["beach", "city"], "id": "city"}),
            await client.read_resource("babelclip://library"),
        ]

    tools, searched, missing, label, library = ask(parameters, talk, mode)
    assert len(tools.tools) == 4
    assert [one["id"] for one in found(searched)["images"]] == ["beach"]
    assert len(pictures(searched)) == 1
    assert "never" in refused(missing)
    assert found(label)["label"] == "city"
    assert '"name": "shared"' in library.contents[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_streamable_http_serves_an_index(address: str, mode: str) -> None:
    """Clients that connect over HTTP get the same tools, one after the other, by old and new versions."""
    from tests.clients.mcp.asking import ask, found

    assert address.startswith("http://127.0.0.1:")
    asked = {"query": "beach", "limit": 1}
    for _ in range(2):
        answer = ask(address, lambda client: client.call_tool("search_images", asked), mode)
        (image,) = found(answer)["images"]
        assert (image["id"], image["source"]) == ("beach", "beach.jpg")
        assert np.isclose(image["score"], 1.0, atol=1e-5)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:8000"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_a_page_in_a_browser_cannot_ask(address: str, headers: dict[str, str], status: int) -> None:
    """Neither another site's script nor a name that was made to lead here gets an answer."""
    answer = httpx.post(address, json=CALL, headers={**ACCEPT, **headers}, timeout=PATIENCE)
    assert answer.status_code == status
    assert "tools" not in answer.text


def test_a_body_without_end_is_refused(address: str) -> None:
    """A message that would fill the memory is turned away by its size."""
    headers = {**ACCEPT, "content-type": "application/json"}
    answer = httpx.post(address, content=b"x" * 5_000_000, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 413


def test_a_token_is_asked_for_where_one_is_set(index: Path, web: FakeServer, tmp_path: Path) -> None:
    """On a machine of several people only who knows the word may search, by the SDK's client as well."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    from tests.clients.mcp.asking import found

    (tmp_path / "token").write_text("a-word-for-callers\n")
    with serving(index, web.url, "--http-token-file", str(tmp_path / "token")) as (address, _):
        for shown in ("", "Bearer", "Bearer a-word-for-caller", "Basic a-word-for-callers"):
            headers = {**ACCEPT, "authorization": shown} if shown else ACCEPT
            answer = httpx.post(address, json=CALL, headers=headers, timeout=PATIENCE)
            assert (answer.status_code, answer.content) == (401, b"")
        bearer = {"authorization": "Bearer a-word-for-callers"}
        # A page that had learnt the word would still be a page.
        other = {**ACCEPT, **bearer, "origin": "https://evil.example"}
        assert httpx.post(address, json=CALL, headers=other, timeout=PATIENCE).status_code == 403

        async def search() -> Any:
            async with (
                httpx2.AsyncClient(headers=bearer, timeout=PATIENCE) as http,
                Client(streamable_http_client(address, http_client=http)) as client,
            ):
                return await client.call_tool("search_images", {"query": "beach", "limit": 1})

        answer = asyncio.run(search())
        assert found(answer)["images"][0]["id"] == "beach"


def test_it_ends_when_it_is_told_to(index: Path, web: FakeServer) -> None:
    """Ctrl-C is an end in order, with one line at most and no traceback."""
    with serving(index, web.url) as (_, process):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--index or --collection"),
        (["--index", "a", "--collection", "b"], 2, "exactly one"),
        (["--collection", "b", "--originals", "."], 2, "for an index"),
        (["--index", "missing"], 3, "missing"),
        (["--index", "INDEX", "--max-results", "100"], 3, "from 1 to 20"),
        (["--index", "INDEX", "--max-bytes", "10"], 3, "200,000"),
        (["--index", "INDEX", "--originals", "missing"], 3, "no folder"),
        (["--collection", "b", "--url", "grpc://127.0.0.1:1"], 3, "over HTTP"),
        (["--collection", "b", "--url", "http://127.0.0.1:9"], 3, "no answer"),
        (["--index", "INDEX", "--url", "nothing"], 3, "no address"),
        (["--index", "INDEX", "--http-token-file", "missing"], 2, "is for --port"),
        (["--index", "INDEX", "--port", "0", "--http-token-file", "missing"], 3, "missing"),
        (["--index", "INDEX", "--port", "0", "--http-token-file", "/dev/null"], 3, "at least 16"),
    ],
)
def test_what_cannot_be_served_is_said(index: Path, arguments: list[str], code: int, says: str) -> None:
    """Whoever mistypes an option reads what was wrong, and no client waits for a server that is not there."""
    given = [str(index) if one == "INDEX" else one for one in arguments]
    done = CliRunner().invoke(app, ["mcp", *given], env={**os.environ, "COLUMNS": "200"})
    assert done.exit_code == code, done.output
    assert says in done.output
    assert "Traceback" not in done.output
