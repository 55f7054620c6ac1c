"""The chart, rendered by the real helm, and read."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.places import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "babelclip"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
GOLDEN = Path(__file__).parent / "golden"
RELEASE, NAMESPACE = "clip", "search"
# Ten times as fast, where there is one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPACKED = REPOSITORY / ".run" / "tools" / "usr" / "bin"

Document = dict[str, Any]


def tool() -> str:
    """Where helm is; the test is skipped where there is none."""
    found = shutil.which("helm") or shutil.which("helm", path=str(_UNPACKED))
    if found is None:
        pytest.skip("there is no helm: scripts/tools gets it")
    return found


def helm(*arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """What helm says."""
    command = [tool(), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@functools.cache
def rendered(*values: str | Path, sets: tuple[str, ...] = ()) -> str:
    """The manifests with these files of values, and with `--set` of these; helm must succeed."""
    words: list[str | Path] = [word for path in values for word in ("--values", path)]
    words += [word for one in sets for word in ("--set", one)]
    done = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(*values: str | Path, sets: tuple[str, ...] = ()) -> list[Document]:
    """The same, read."""
    return [one for one in yaml.load_all(rendered(*values, sets=sets), _LOADER) if one]


def refused(values: str) -> str:
    """What helm says of values that it must refuse."""
    done = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", "-", given=values)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def of_kind(found: list[Document], kind: str) -> dict[str, Document]:
    """Those of a kind, by name."""
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def pods(found: list[Document]) -> dict[str, Document]:
    """The specification of every pod, by the name of what makes it."""
    made = {name: one["spec"]["template"] for name, one in of_kind(found, "Deployment").items()}
    made |= {f"{name}-{role}": one for name, roles in ray_pods(found).items() for role, one in roles.items()}
    return {name: one["spec"] for name, one in {**made, **of_kind(found, "Pod")}.items()}


def ray_pods(found: list[Document]) -> dict[str, dict[str, Document]]:
    """By the name of a RayService, the templates of its pods: of the head, the gateway and the towers."""
    made = {}
    for name, service in of_kind(found, "RayService").items():
        cluster = service["spec"]["rayClusterConfig"]
        roles = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
        made[name] = {"head": cluster["headGroupSpec"]["template"], **roles}
    return made


def example(name: str) -> Path:
    """A file of values beside the chart."""
    return CHART / "examples" / f"{name}.yaml"
