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


UPWARD = {
    "handlers.limits": ("from training import loop", "training.loop"),
    "handlers.batching": ("def late():\n    import babelclip.cli.main", "babelclip.cli.main"),
    "handlers.errors": ("from handlers.base import Handler", "handlers.base"),
}
"""Modules, what is added to each, and the module that it must not import."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What is said of a copy of the packages with all of UPWARD in it."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("babelclip", "handlers", "models", "training", "export", "gateway", "batch", "benchmarks"):
        source = REPOSITORY / ("clients/babelclip" if name == "babelclip" else name)
        target = folder / ("clients/babelclip" if name == "babelclip" else name)
        for path in source.rglob("*.py"):
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
    for module, (line, _) in UPWARD.items():
        with (folder / f"{module.replace('.', '/')}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n\n{line}\n")
    return checked(folder)


@pytest.mark.parametrize("module", UPWARD)
def test_an_arrow_upward_is_seen(module: str, broken: subprocess.CompletedProcess[str]) -> None:
    """The contracts read every form an import can take, inside functions too."""
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert f"{module} -> {UPWARD[module][1]} " in broken.stdout, broken.stdout
