"""docs/kubernetes.md: its commands render, and what it names is there."""

import re
import shlex

import pytest

from tests.deploy.helm.charts import documents, example, helm, of_kind, tool
from tests.places import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
OURS = [
    shlex.split(line)
    for line in GUIDE.splitlines()
    if re.match(r"helm (upgrade|install) .*helm/babelclip ", line)
]


@pytest.mark.parametrize("words", OURS, ids=lambda words: " ".join(words[-2:]))
def test_a_command_installs_something(words: list[str]) -> None:
    """Who copies it has a release, or another state of one."""
    rest = [word for word in words[2:] if word != "--install"]
    assert rest[0] == "clip"
    command = ["template", rest[0], str(REPOSITORY / rest[1]), *rest[2:]]
    command = [str(REPOSITORY / word) if word.startswith("deploy/") else word for word in command]
    done = helm(*command)
    assert done.returncode == 0, done.stderr
    engine = "RayService" if "examples/ray" in " ".join(words) else "Deployment"
    assert f"kind: {engine}\n" in done.stdout


def test_there_are_commands() -> None:
    """The ones above were found."""
    assert len(OURS) >= 4


def test_files_that_it_names_are_there() -> None:
    """Links and commands lead to files of the repository."""
    named = set(re.findall(r"(?:deploy|scripts|tests)/[A-Za-z_/.-]+[a-z]", GUIDE))
    for path in named:
        assert (REPOSITORY / path.removeprefix("../")).exists(), path


def test_names_of_the_quick_start_are_those_of_the_release() -> None:
    """The Deployment that is waited for, and the address that callers are given, are rendered so."""
    tool()
    found = documents(example("cpu"))
    (deployment,) = of_kind(found, "Deployment")
    assert f"rollout status deployment {deployment}\n" in GUIDE
    for service in of_kind(found, "Service"):
        assert service in GUIDE
    assert "clip-babelclip" in of_kind(found, "Service")


def test_a_rayservice_is_waited_for_by_its_name() -> None:
    """KubeRay says of it when callers can come."""
    tool()
    (service,) = of_kind(documents(example("ray")), "RayService")
    assert f"wait --for=condition=Ready rayservice/{service} " in GUIDE


def test_targets_of_scaling_are_those_of_the_chart() -> None:
    """The table says what holds unless it is changed."""
    (scaler,) = of_kind(documents(example("gaudi")), "HorizontalPodAutoscaler").values()
    for one, value in zip(scaler["spec"]["metrics"], ("itemsInProgress", "queueDepth"), strict=True):
        name = one["pods"]["metric"]["name"]
        assert f"| `{name}` | `{value}`: {one['pods']['target']['averageValue']} |" in GUIDE
