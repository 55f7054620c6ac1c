"""The runtimes report to nobody: a server that may be cut off from the world has nothing to send."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY


def run(code: str, home: Path, **variables: str) -> str:
    """What a process prints that has this home and nothing of the environment of the tests."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_nothing_is_written_about_the_machine(runtime: str, tmp_path: Path) -> None:
    """No identifier of the machine and no store of events in the home folder, as the packages make them."""
    code = f"from handlers.runtime.imports import import_{runtime}; print(import_{runtime}().__version__)"
    assert run(code, tmp_path)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.slow
def test_the_parts_that_load_programs_import_them_so(tmp_path: Path) -> None:
    """The export's proof of a program, and the handlers: neither imports a runtime in another way."""
    code = (
        "import sys, handlers.runtime.runtimes, export.programs;"
        "print({'onnxruntime', 'openvino'} & {*sys.modules})"
    )
    assert run(code, tmp_path) == "set()\n"


def test_what_a_caller_imports_later_is_whole(tmp_path: Path) -> None:
    """Hidden from OpenVINO, its package for reports is still there for others."""
    code = (
        "from handlers.runtime.imports import import_openvino; import_openvino();"
        "import openvino_telemetry; print(1)"
    )
    assert run(code, tmp_path) == "1\n"


def test_who_wants_it_to_report_is_heard(tmp_path: Path) -> None:
    """A variable that is set already stays as it is."""
    code = (
        "import os; from handlers.runtime.imports import import_onnxruntime; import_onnxruntime();"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    assert run(code, tmp_path, ORT_DISABLE_TELEMETRY="0") == "0\n"


def test_a_forked_process_ends(tmp_path: Path) -> None:
    """The threads of its reports kept the exit of a forked process waiting forever."""
    code = (
        "import os; from handlers.runtime.imports import import_onnxruntime; import_onnxruntime()\n"
        "child = os.fork()\n"
        "if child: print(os.waitpid(child, 0)[1])"
    )
    assert run(code, tmp_path) == "0\n"
