"""The published wheel holds the client and nothing else, and works where nothing else is."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import run
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # builds and installs the wheel

# Prints where the package is, after importing every module of it but the one that runs the command line. What
# is made of classes of another package says which extra to install.
IMPORT_ALL = """
import importlib, pkgutil, babelclip
EXTRAS = {
    "babelclip.mcp": "mcp",
    "babelclip.retrievers.langchain": "langchain",
    "babelclip.retrievers.llamaindex": "llamaindex",
}
for module in pkgutil.walk_packages(babelclip.__path__, "babelclip."):
    if module.name == "babelclip.__main__":
        continue
    extra = EXTRAS.get(module.name)
    try:
        importlib.import_module(module.name)
        assert extra is None, module.name
    except ImportError as error:
        assert extra is not None, error
        assert f"pip install 'babelclip[{extra}]'" in str(error), error
print(babelclip.__file__)
"""


def test_the_wheel_holds_only_the_client(wheel: Path) -> None:
    """No handler, training code or test is published by accident, and nothing of the client is left out."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if name.startswith("babelclip-0.1.0.dist-info/")}
    assert {name.partition("/")[0] for name in names - metadata} == {"babelclip"}
    root = REPOSITORY / "clients"
    sources = {
        path.relative_to(root).as_posix()
        for path in (root / "babelclip").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names - metadata == sources
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= {name.partition("/")[2] for name in metadata}


def test_the_wheel_is_the_same_when_it_is_built_again(wheel: Path, tmp_path: Path) -> None:
    """Who builds the tag gets the published bytes, and can tell that nothing else is in them."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, REPOSITORY)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_wheel_is_the_same_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Neither place, times nor permissions of a checkout get into it; SOURCE_DATE_EPOCH is its only time."""
    copy = tmp_path / "elsewhere"
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        copy.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, copy / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "clients", copy / "clients", ignore=ignored, copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1e9, 1e9))
    built = {}
    for place, epoch in (("one", None), ("two", "1700000000"), ("three", "1700000000")):
        given = {**os.environ, "SOURCE_DATE_EPOCH": epoch} if epoch else None
        source = copy if place != "three" else REPOSITORY
        words = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path / place),
            str(source),
        ]
        subprocess.run(words, check=True, capture_output=True, env=given)
        built[place] = (tmp_path / place / wheel.name).read_bytes()
    assert built["one"] == wheel.read_bytes()
    assert built["two"] == built["three"] != built["one"]


def test_the_wheel_has_no_newest_python(wheel: Path) -> None:
    """pip takes the client on a Python that came out after it, instead of refusing it by its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert re.findall(r"^Requires-Python: (.*)$", metadata, re.MULTILINE) == [">=3.11"]


def test_the_wheel_works_alone(wheel_bin: Path, tmp_path: Path) -> None:
    """With what it declares and nothing more, every module imports and the command answers."""
    where = run(wheel_bin / "python", "-c", IMPORT_ALL, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(wheel_bin.parent)
    installed = run(wheel_bin / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))")
    assert installed.strip() == "None"
    help_text = re.sub(r"\x1b\[[0-9;]*m", "", run(wheel_bin / "babelclip", "--help", cwd=tmp_path))
    assert "embed" in help_text
