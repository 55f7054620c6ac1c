"""What the containers' entry point runs, and in which order; a stand-in for Python notes what it is asked."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.places import REPOSITORY

ENTRYPOINT = REPOSITORY / "deploy" / "containers" / "entrypoint"
SUM = "0" * 64


def run(folder: Path, *words: str, fetched: int = 0, **variables: str) -> tuple[int, list[list[str]], str]:
    """Run it; return its exit status, the words of each Python that it started, and what it complained of.

    `fetched` is the exit status of the script that fetches models.
    """
    asked = folder / "asked"
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >>{asked}\ncase $1 in *fetch_models.py) exit {fetched};; esac\n'
    )
    python.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **variables}
    done = subprocess.run([ENTRYPOINT, *words], env=environment, capture_output=True, text=True)
    calls = asked.read_text().splitlines() if asked.exists() else []
    return done.returncode, [call.split() for call in calls], done.stderr


def test_it_serves_with_the_options_that_it_is_given(tmp_path: Path) -> None:
    """Options of the container come last, so that they win over the image's own."""
    status, calls, _ = run(tmp_path, "--workers", "2")
    assert status == 0
    assert calls[0][0] == "/opt/babelclip/scripts/serve.py"
    assert calls[0][-2:] == ["--workers", "2"]
    assert len(calls) == 1


def test_a_command_is_run_instead(tmp_path: Path) -> None:
    """A first word that is no option is a program, with all that follows."""
    status, calls, _ = run(tmp_path, "sh", "-c", "exit 7")
    assert (status, calls) == (7, [])


def test_models_are_fetched_before_the_start(tmp_path: Path) -> None:
    """The server starts when the store is there, and it is fetched with its checksum."""
    variables: dict[str, Any] = {
        "BABELCLIP_MODELS_URL": "https://m/manifest.json",
        "BABELCLIP_MODELS_SHA256": SUM,
    }
    status, calls, _ = run(tmp_path, **variables)
    assert status == 0
    assert [Path(call[0]).name for call in calls] == ["fetch_models.py", "serve.py"]
    assert calls[0][1:] == ["https://m/manifest.json", "--store", "/models", "--sha256", SUM]


@pytest.mark.parametrize("checksum", [None, ""])
def test_models_without_a_checksum_are_not_fetched(checksum: str | None, tmp_path: Path) -> None:
    """What is run is code: nothing is brought that nobody has named the checksum of."""
    variables: dict[str, Any] = {} if checksum is None else {"BABELCLIP_MODELS_SHA256": checksum}
    status, calls, complaint = run(tmp_path, BABELCLIP_MODELS_URL="https://m/manifest.json", **variables)
    assert status != 0
    assert not calls
    assert "BABELCLIP_MODELS_URL needs the SHA-256" in complaint


def test_nothing_starts_without_its_models(tmp_path: Path) -> None:
    """A store that could not be fetched ends the start; one of before is not served in its place."""
    variables = {"BABELCLIP_MODELS_URL": "https://m/manifest.json", "BABELCLIP_MODELS_SHA256": SUM}
    status, calls, _ = run(tmp_path, fetched=1, **variables)
    assert status == 1
    assert [Path(call[0]).name for call in calls] == ["fetch_models.py"]
