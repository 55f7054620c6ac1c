"""The wheel as a user gets it: built once, installed alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import training  # noqa: F401  (before any import of transformers: see models.torchvision_operators)
from tests.places import REPOSITORY

pytest.register_assert_rewrite("tests.broken")  # its assertions are to say what differs, as a test's do

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def run(*command: str | Path, cwd: Path = REPOSITORY) -> str:
    """Run a command that must succeed; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What workers decide and keep is the tests' own, not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BABELCLIP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment into which only the wheel and what it declares is installed."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    binaries = environment / "bin"
    # The pip of this environment installs into that one.
    pip = (sys.executable, "-m", "pip", "--python", binaries / "python", "install", "-qq")
    run(*pip, "-c", REPOSITORY / "constraints.txt", wheel)
    return binaries
