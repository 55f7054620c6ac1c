"""The code blocks of a guide, run in this process: others would import the same again for each line."""

import contextlib
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from babelclip.cli.main import app
from tests.places import REPOSITORY

EXPECTED_STATUS = re.compile(r"\s*\|\| test \$\? = (\d+)\s*(?:#.*)?$")


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, code) of the commands and programs of docs/`name`, in order."""
    text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)


def run_block(language: str, code: str, folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Run a block in `folder`, whose commands must end as they say, and return what it prints."""
    patch.chdir(folder)
    if language == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "<guide>", "exec"), {"__name__": "__main__"})
        return printed.getvalue()
    return "".join(_run_line(line, patch) for line in code.strip().splitlines())


def _run_line(line: str, patch: pytest.MonkeyPatch) -> str:
    expected = EXPECTED_STATUS.search(line)
    words = shlex.split(EXPECTED_STATUS.sub("", line), comments=True)
    if words[:1] == ["export"]:
        name, _, value = words[1].partition("=")
        patch.setenv(name, value)
        return ""
    if words and Path(words[0]).name == "babelclip":
        done = CliRunner().invoke(app, words[1:])
        status, printed = done.exit_code, done.output
    else:
        shell = subprocess.run(["bash", "-euo", "pipefail", "-c", line], capture_output=True, text=True)
        status, printed = shell.returncode, shell.stdout + shell.stderr
    assert status == (int(expected[1]) if expected else 0), (line, printed)
    return printed
