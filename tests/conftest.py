"""The wheel as a user gets it: built once, installed alone."""

import functools
import gc
import os
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Generator, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from httpx._config import create_ssl_context
from hypothesis import HealthCheck, settings
from typer.main import get_command

import training  # noqa: F401  (before any import of transformers: see models.torchvision_operators)
from tests.environments import make_environment
from tests.places import REPOSITORY
from tests.shared import made_once

pytest.register_assert_rewrite("tests.broken")  # its assertions are to say what differs, as a test's do

# A busy machine is no failure.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: it isn't searched for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the files of tests, long ones go first: none ends long after the others."""
    if hasattr(config, "workerinput"):  # set by pytest-xdist
        turns: dict[Path, int] = {}
        for item in items:
            turns[item.path] = min(_turn(item), turns.get(item.path, _LAST))
        items.sort(key=lambda item: turns[item.path])  # in a file the order stays


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("slow"):
        return 0
    # Then the servers, which stay up until the end.
    return 1 if item.get_closest_marker("e2e") else _LAST


_LAST = 2


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


@pytest.fixture(scope="session", autouse=True)
def _hasty_java() -> Iterator[None]:
    """Java compiles what it runs once: half of what a start costs it is a second compiler, for long runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _authorities_read_once() -> Iterator[None]:
    """httpx reads the certificates of all authorities for each client, 30 ms of processor time."""
    kept: dict[tuple[str | bool | None, ...], ssl.SSLContext] = {}

    def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return create_ssl_context(verify, cert, trust_env)
        named = (trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if named not in kept:
            kept[named] = create_ssl_context(trust_env=trust_env)
        return kept[named]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.fixture(scope="session", autouse=True)
def _commands_built_once() -> Iterator[None]:
    """Typer builds all commands anew for each that a test runs, which takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="module")
def milvus_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What addresses of indexes in a real Milvus begin with.

    Of a file of tests, for Milvus takes a fifth of a core while nobody asks it.
    """
    from benchmarks.index.milvus_server import milvus_server, missing

    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    if reason := missing():
        pytest.skip(reason)
    with milvus_server(tmp_path_factory.mktemp("milvus")) as server:
        yield server.address


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""

    def build(folder: Path) -> None:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY)

    (built,) = made_once(tmp_path_factory, "wheel", build).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment that holds only the wheel and what it declares."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        declared = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])

    def install(folder: Path) -> None:
        python = make_environment(folder, declared)
        # The pip of this environment installs into that one.
        pip = (sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-compile")
        run(*pip, "--no-deps", "--no-index", wheel)

    return made_once(tmp_path_factory, "wheel-environment", install) / "bin"
