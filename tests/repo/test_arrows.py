"""Who may import whom: the rooms stay as apart as docs and readers are told they are."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.places import REPOSITORY

CONFIG = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages in `folder`, by this repository's contracts."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ]
    environment = {"PATH": "", "PYTHONPATH": f"{folder / 'clients'}:{folder}"}
    return subprocess.run(
        [*command, "--no-cache", "--no-logo", "--config", str(REPOSITORY / "pyproject.toml")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_imports_follow_the_contracts() -> None:
    """No room imports from one above it, and there is no circle: each can be read without the rest."""
    done = checked(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_folder_of_ours_has_its_place() -> None:
    """A new room must be given a layer, or a contract would be silent about it."""
    found = tomllib.loads(CONFIG)["tool"]["importlinter"]
    contained = {name for contract in found["contracts"] for name in contract.get("containers", ())}
    assert {"babelclip", "handlers", "models", "training", "gateway", "batch"} <= contained
    assert all(c["exhaustive"] for c in found["contracts"] if "containers" in c)
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert packages <= set(found["root_packages"])


@pytest.mark.parametrize(
    "line",
    [
        "from training import loop",
        "def late():\n    import babelclip.cli.main",
        "from handlers.base import Handler",
    ],
)
def test_an_arrow_upward_is_seen(line: str, tmp_path: Path) -> None:
    """The contracts read every form an import can take, inside functions too."""
    for name in ("babelclip", "handlers", "models", "training", "export", "gateway", "batch", "benchmarks"):
        source = REPOSITORY / ("clients/babelclip" if name == "babelclip" else name)
        target = tmp_path / ("clients/babelclip" if name == "babelclip" else name)
        for path in source.rglob("*.py"):
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
    with (tmp_path / "handlers" / "errors.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    done = checked(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "handlers.errors" in done.stdout
