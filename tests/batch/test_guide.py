"""docs/bulk.md: its commands and programs, as they stand."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from batch.__main__ import main, parser
from tests.clients.ingest.pictures import fill
from tests.guides import blocks
from tests.places import REPOSITORY
from tests.shared import mini_store


@pytest.mark.slow  # exports, and starts processes
def test_the_guides_commands_and_program_work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who copies the guide from top to bottom gets vectors, arrays and an index."""
    pytest.importorskip("lancedb", reason="lancedb is not installed")
    (tmp_path / "model_store").symlink_to(mini_store(tmp_path_factory))
    fill(tmp_path / "photographs", 5)
    monkeypatch.chdir(tmp_path)
    for language, code in blocks("bulk.md"):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, "<guide>", "exec"), {})
            assert printed.getvalue() == "['id', 'source', 'vector', 'error', 'message', 'caption']\n"
            continue
        for line in code.strip().splitlines():
            words = shlex.split(line)
            assert words[:3] == ["python", "-m", "batch"]
            assert main(words[3:]) == 0, line


def test_the_guides_options_are_there() -> None:
    """Every option that the guide names is one of a command's."""
    text = (REPOSITORY / "docs" / "bulk.md").read_text(encoding="utf-8")
    known = set()
    for action in parser()._actions:
        for command in (getattr(action, "choices", None) or {}).values():
            known |= set(command._option_string_actions)
    of_others = re.compile(r"python -m benchmarks[^`\n]*")
    for option in set(re.findall(r"[ `](--[a-z][a-z-]+)", of_others.sub("", text))):
        assert option in known, option
