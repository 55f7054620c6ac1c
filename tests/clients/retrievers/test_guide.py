"""docs/retrievers.md: its programs, command and configuration, as they stand, with the committed model."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from babelclip import Client, SearchCalibration
from babelclip.index import Row, Settings, create_index
from babelclip.search.measure import calibrate_index
from tests.clients.retrievers.library import thumbnail
from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import album, made
from tests.places import REPOSITORY, SAMPLES
from tests.shared import mini_store

PACKAGES = ("lancedb", "langchain_core", "llama_index", "mcp")

pytestmark = [
    pytest.mark.slow,  # starts processes
    pytest.mark.skipif(
        any(importlib.util.find_spec(package) is None for package in PACKAGES),
        reason=f"one of {', '.join(PACKAGES)} is not installed",
    ),
]

GUIDE = (REPOSITORY / "docs" / "retrievers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python|json)\n(.*?)```", GUIDE, re.DOTALL)
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the guide names, and what it is in this test: a model, an index of drawings, a gateway, a key."""
    store, folder = mini_store(tmp_path_factory), tmp_path_factory.mktemp("guide")
    names = json.loads((SAMPLES / "captions.json").read_bytes())["names"]["en"]
    files = {SAMPLES / ("-".join(f"{ord(c):x}" for c in e) + ".png"): name for e, name in names.items()}
    with Client(f"mar:{store}") as client:
        found = client.embed_images(files)
        settings = Settings(space=found.space, dim=found.dim, version=found.version)
        with create_index(folder / "emoji.index", settings) as index:
            rows = [
                Row(id=file.stem, source=str(file), vector=vector, caption=name, thumbnail=thumbnail(1))
                for (file, name), vector in zip(files.items(), found.vectors, strict=True)
            ]
            index.upsert(rows, space=found.space)
            texts = calibrate_index(index, client).text
            calibration = SearchCalibration(found.space, text=texts, image=texts)
            calibration.save(folder / "emoji.index" / "calibration.json")
    with album(folder) as front:
        made(front, "photographs")
        yield {
            "mar:model_store": f"mar:{store}",
            ".run/emoji.index": str(folder / "emoji.index"),
            "http://127.0.0.1:8000": front.addresses.http,
            "bck_…": front.key,
            "--port 8765": "--port 0",
        }


def as_here(text: str, here: dict[str, str]) -> str:
    """A block of the guide, with what there is in this test."""
    for written, actual in here.items():
        text = text.replace(written, actual)
    return text


def run(code: str) -> str:
    """What a program says, in the root of the repository."""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_programs_find_what_they_say(here: dict[str, str]) -> None:
    """A reader who copies a program gets the images that the guide asks for."""
    assert [language for language, _ in BLOCKS] == ["python", "python", "python", "json", "bash", "python"]
    chain, collection, llama = (run(as_here(code, here)) for language, code in BLOCKS[:3])
    assert "dog face" in chain
    assert "1f436.png" in chain
    assert chain.splitlines()[-2:] == ["1", "[]"]
    assert "a beach" in collection
    assert "dog face" in llama


def test_the_configuration_starts_servers(here: dict[str, str]) -> None:
    """What a desktop client is configured with is a server that answers, of an index and of a collection."""
    from mcp import StdioServerParameters

    from tests.clients.mcp.asking import ask, found

    (text,) = (code for language, code in BLOCKS if language == "json")
    servers: dict[str, dict[str, Any]] = json.loads(as_here(text, here))["mcpServers"]
    questions = {"drawings": ("пицца", "1f355"), "photographs": ("plage", "beach")}
    assert set(servers) == set(questions)
    for name, (query, best) in questions.items():
        entry = servers[name]
        assert entry["command"] == "babelclip"
        parameters = StdioServerParameters(
            command=str(BIN / "babelclip"), args=entry["args"], env=entry.get("env"), cwd=REPOSITORY
        )
        answer = ask(parameters, methodcaller("call_tool", "search_images", {"query": query}))
        assert found(answer)["images"][0]["id"] == best
        original = found(answer)["images"][0]["original"]
        assert original == (f"babelclip://images/{best}/original" if name == "drawings" else None)


def test_the_command_serves_the_program(here: dict[str, str]) -> None:
    """What the guide starts in a terminal is what its program asks."""
    (command,) = (code for language, code in BLOCKS if language == "bash")
    program = BLOCKS[-1][1]
    words = shlex.split(as_here(command, here))
    words[0] = str(BIN / words[0])
    with subprocess.Popen(
        words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            address = said.removeprefix("listening: ").strip()
            assert address.startswith("http://127.0.0.1:"), said
            assert address.endswith("/mcp")
            said = run(program.replace("http://127.0.0.1:8765/mcp", address))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            process.wait(PATIENCE)
    assert said == "pizza ['text', 'text', 'image']\n"


def test_options_of_the_guide_are_there() -> None:
    """Every option that the guide names is one of the command."""
    shown = subprocess.run(
        [BIN / "babelclip", "mcp", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    for option in set(re.findall(r"[ `\"](--[a-z][a-z-]+)", GUIDE)):
        assert option in shown, option
