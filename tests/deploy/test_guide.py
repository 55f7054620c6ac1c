"""docs/deploy.md says what is in the files: targets, arguments, variables, places, ports."""

import re

import pytest

from tests.deploy.dockerfile import TARGETS, environment, stages
from tests.deploy.test_compose import MAIN, services
from tests.places import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "deploy.md").read_text()
SECURITY = (REPOSITORY / "SECURITY.md").read_text()


def test_every_target_and_argument_is_explained() -> None:
    """Who builds an image finds each of its targets and build arguments."""
    for target in TARGETS:
        assert f"| `{target}` |" in GUIDE
    arguments = {name.partition("=")[0] for stage in stages().values() for name in stage.all("ARG")}
    explained = set(re.findall(r"`([A-Z_]+)`", GUIDE))
    assert arguments <= explained


def test_every_variable_of_compose_is_explained() -> None:
    """Variables without a word would be found by reading YAML alone; images' are explained by two of them."""
    used = set(re.findall(r"\$\{(\w+):-", MAIN.read_text()))
    explained = set(re.findall(r"`([A-Z_]+)`", GUIDE))
    assert {name for name in used if not name.endswith(("_IMAGE", "_TARGET"))} <= explained


@pytest.mark.parametrize("place", re.findall(r"^\| `(/[a-z/.]+)` \|", GUIDE, re.MULTILINE))
def test_places_are_those_of_the_image(place: str) -> None:
    """What is said to be mounted is where the image and its entry point look."""
    known = " ".join(environment("cpu").values())
    known += (REPOSITORY / "deploy" / "containers" / "entrypoint").read_text()
    assert place in known or place == "/tmp"


def test_every_published_port_is_in_the_table_of_who_faces_whom() -> None:
    """A port that is opened is one whose reader the operator can look up."""
    table = SECURITY[SECURITY.index("## Who faces whom") :]
    told = {port for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for port in row.split(", ")}
    published = {port.rpartition(":")[2] for port in services()["pod"]["ports"]}
    assert published | {"7070", "7071", "8080", "8081", "8082", "8083", "8002"} <= told


def test_the_other_files_that_it_names_are_there() -> None:
    """Commands and links lead to files of the repository, but for those that the reader makes."""
    named = set(re.findall(r"(?:deploy|scripts|tests)/[a-z_/.]+[a-z]", GUIDE))
    elsewhere = ("deploy/.env", "deploy/babelclip.env", "deploy/secrets", "deploy/monitoring")
    for path in named:
        if not path.startswith(elsewhere):
            assert (REPOSITORY / path).exists(), path
