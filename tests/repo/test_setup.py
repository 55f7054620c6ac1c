"""The script that makes the environment: what it says when it cannot."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def setup(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup for an environment in `path`."""
    variables = {**os.environ, "BABELCLIP_VENV": str(path / "venv"), **environment}
    return subprocess.run(
        [REPOSITORY / "scripts" / "setup"], env=variables, cwd=path, capture_output=True, text=True
    )


def test_a_python_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """Whoever sets PYTHON to something unfit is told so before anything is made."""
    unfit = tmp_path / "python2"
    unfit.write_text("#!/bin/sh\nexit 1\n")
    unfit.chmod(0o755)
    done = setup(tmp_path, PYTHON=str(unfit))
    assert done.returncode == 1
    assert str(unfit) in done.stderr
    assert "3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_machine_without_a_fit_python_is_told_what_is_needed(tmp_path: Path) -> None:
    """A name on the PATH that is no working Python (a version manager's stand-in) is passed over."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3.13", "python3"):
        (tools / name).write_text("#!/bin/sh\nexit 127\n")
        (tools / name).chmod(0o755)
    for name in ("bash", "env", "dirname", "sed"):
        found = next(Path(folder, name) for folder in os.get_exec_path() if Path(folder, name).exists())
        (tools / name).symlink_to(found)
    done = setup(tmp_path, PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
