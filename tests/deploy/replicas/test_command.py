"""`python -m deploy.haproxy`, as docs/replicas.md has it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support import haproxy
from deploy.haproxy.__main__ import main
from tests.places import REPOSITORY


def documented() -> list[str]:
    """The words of the guide's command, without the certificate, which a reader's machine has."""
    text = (REPOSITORY / "docs" / "replicas.md").read_text(encoding="utf-8")
    found = re.search(r"^python -m deploy\.haproxy (.*?) > haproxy\.cfg$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return shlex.split(re.sub(r"--certificate \S+", "", found[1].replace("\\\n", " ")))


def test_the_guides_command_writes_what_haproxy_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its example of routes and replicas becomes a configuration that a real HAProxy finds valid."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["haproxy", *documented()])
    assert main() == 0
    written = tmp_path / "haproxy.cfg"
    written.write_text(capsys.readouterr().out, encoding="utf-8")
    program = haproxy.find()
    if program is None:
        pytest.skip("there is no haproxy: scripts/tools gets it")
    checked = subprocess.run(
        [program.path, "-c", "-f", str(written)],
        env=dict(program.environment),
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_wrong_file_ends_it_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No trace of the stack: what is wrong, where, and exit status 1."""
    routes = tmp_path / "routes.yaml"
    endpoints = REPOSITORY / "deploy" / "haproxy" / "endpoints.yaml"
    for content, says in (("a: [", "haproxy: "), ("kind: Pod", "there is no HTTPRoute and no GRPCRoute")):
        routes.write_text(content, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["haproxy", str(routes), "--endpoints", str(endpoints)])
        assert main() == 1
        assert says in capsys.readouterr().err
