"""The script that makes the environment: what it says when it cannot, and whose torch it takes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # makes environments


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


# In place of pip: notes its arguments and what the files hold that they name.
PIP = """
import json, os, pathlib, sys
files = {flag: pathlib.Path(sys.argv[sys.argv.index(flag) + 1]).read_text().splitlines()
         for flag in ("-c", "-r") if flag in sys.argv}
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(json.dumps({"asked": sys.argv, "files": files}) + chr(10))
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder on the Python path that holds a torch of another version, and no real pip."""
    folder = tmp_path / "packages"
    for name, file, text in (
        ("torch", "__init__.py", "__version__ = '2.9.0+cu128'"),
        ("torch-2.9.0.dist-info", "METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n"),
        ("pip", "__init__.py", ""),
        ("pip", "__main__.py", PIP),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text)
    return folder


def test_a_containers_own_torch_stays(tmp_path: Path, packages: Path) -> None:
    """No other torch is asked for, nor a package built for one; all else is as always.

    torch's own word for its version is not always pip's, and what pip does not know it would go and look for.
    """
    log = tmp_path / "log"
    kept = {"PYTHON": sys.executable, "PYTHONPATH": str(packages), "PIP_LOG": str(log)}
    done = setup(tmp_path, BABELCLIP_TORCH="installed", **kept)
    assert done.returncode == 0, done.stderr
    assert "keeping torch 2.9.0" in done.stderr
    assert "include-system-site-packages = true" in (tmp_path / "venv" / "pyvenv.cfg").read_text()
    (_, last) = [json.loads(line) for line in log.read_text().splitlines()]
    wanted = [line.partition("=")[0].partition(">")[0] for line in last["files"]["-r"]]
    pinned = [line.partition("=")[0] for line in last["files"]["-c"]]
    for names in (wanted, pinned):
        assert "torchvision" not in names
        assert {"torchserve", "torch-model-archiver"} <= set(names)
    assert "torch" not in wanted
    assert [line for line in last["files"]["-c"] if line.startswith("torch==")] == ["torch==2.9.0"]
    # A later command need not say it again, and finds everything done.
    before = log.read_text()
    again = setup(tmp_path, **kept)
    assert (again.returncode, again.stderr, log.read_text()) == (0, "", before)


def test_a_torch_that_is_not_there_is_missed_before_anything_is_installed(
    tmp_path: Path, packages: Path
) -> None:
    """Without torch on its path the environment would fail much later, in a worker."""
    (packages / "torch" / "__init__.py").write_text("raise ImportError('no torch')")
    log = tmp_path / "log"
    done = setup(
        tmp_path,
        BABELCLIP_TORCH="installed",
        PYTHON=sys.executable,
        PYTHONPATH=str(packages),
        PIP_LOG=str(log),
    )
    assert done.returncode == 1
    assert "BABELCLIP_TORCH=installed, but" in done.stderr
    assert not log.exists()


def test_another_word_for_torch_is_refused(tmp_path: Path) -> None:
    """A typing error is no silent download of gigabytes."""
    done = setup(tmp_path, BABELCLIP_TORCH="system")
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be installed, or not be set, not system" in done.stderr


# pip itself comes with Python; without an index the run ends before anything is downloaded.
OFFLINE = {"PYTHON": sys.executable, "PIP_NO_INDEX": "1"}


def pip_of(venv: Path) -> str:
    """What the command `pip` of an environment says of itself."""
    done = subprocess.run([venv / "bin" / "pip", "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(venv: Path, *options: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", *options, venv], check=True)
    return venv


def test_an_environment_without_pip_is_made_anew(tmp_path: Path) -> None:
    """That is what a run leaves that was ended early, or had no ensurepip; every later one would fail."""
    venv = make(tmp_path / "venv", "--without-pip")
    done = setup(tmp_path, **OFFLINE)
    assert "was not finished" in done.stderr
    assert "No module named pip" not in done.stderr
    assert str(venv) in pip_of(venv)


def test_an_environment_whose_python_is_gone_is_made_anew(tmp_path: Path) -> None:
    """An upgrade of the machine takes away what the links in it lead to."""
    venv = make(tmp_path / "venv", "--without-pip")
    for link in (venv / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3")
    assert "making" in setup(tmp_path, **OFFLINE).stderr
    assert str(venv) in pip_of(venv)


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    """Its commands start the Python of the old place; of a copy, even with the old place's packages."""
    folder = tmp_path / "Mes modèles"
    folder.mkdir()
    shutil.copytree(make(tmp_path / "old"), folder / "venv", symlinks=True)
    assert str(tmp_path / "old") in pip_of(folder / "venv")
    done = setup(folder, **OFFLINE)
    assert "made in another place" in done.stderr
    assert str(folder / "venv") in pip_of(folder / "venv")
    # The same environment by another way to it is the same.
    (tmp_path / "link").symlink_to(folder)
    again = setup(tmp_path / "link", **OFFLINE)
    assert "making" not in again.stderr


def test_a_package_that_was_broken_off_is_installed_again(tmp_path: Path) -> None:
    """pip writes the list of a package's files last; without one it would take the package for installed."""
    packages = next((make(tmp_path / "venv") / "lib").glob("python*")) / "site-packages"
    broken = packages / "torch-2.13.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    setup(tmp_path, **OFFLINE)
    assert not broken.exists()
    assert list(packages.glob("pip-*.dist-info"))


def test_a_folder_of_other_files_is_not_emptied(tmp_path: Path) -> None:
    """A wrong BABELCLIP_VENV costs nobody their files."""
    (tmp_path / "venv" / "letters").mkdir(parents=True)
    letter = tmp_path / "venv" / "letters" / "letter.txt"
    letter.write_text("dear")
    done = setup(tmp_path, **OFFLINE)
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert letter.read_text() == "dear"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A checkout that everybody may read and only its owner write to."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / "scripts", Path(folder, "scripts"))
        Path(folder).chmod(0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_user_who_may_not_write_is_told_where_else(shared: Path) -> None:
    """In somebody else's checkout the environment stands elsewhere."""
    other: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    variables = {name: value for name, value in os.environ.items() if name != "BABELCLIP_VENV"}
    done = subprocess.run(
        [shared / "scripts" / "setup"], env=variables, capture_output=True, text=True, **other
    )
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/setup: ")
    assert f"may not write to {shared.resolve()};" in done.stderr
    assert "BABELCLIP_VENV" in done.stderr
    assert len(done.stderr.splitlines()) == 1
