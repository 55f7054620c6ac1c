"""The Compose files: valid by the specification's own reader, and as closed as docs/deploy.md says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import TARGETS
from tests.places import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
MAIN = DEPLOY / "compose.yaml"
FILES = sorted(DEPLOY.glob("compose*.yaml"))
TORCHSERVE = {"7070", "7071", "8080", "8081", "8082", "8083", "8002"}


def read(path: Path) -> dict[str, Any]:
    """A Compose file with the defaults of its variables, as Compose reads it where none is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
    assert "${" not in text, "a variable without a default: the one command would fail"
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def services(path: Path = MAIN) -> dict[str, dict[str, Any]]:
    """The services of a Compose file by name."""
    found: dict[str, dict[str, Any]] = read(path)["services"]
    return found


def sources(service: dict[str, Any]) -> list[str]:
    """What a service mounts: names of volumes, and paths."""
    return [volume.split(":")[0] for volume in service.get("volumes", [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_valid(path: Path) -> None:
    """Names, types and values are those of the Compose specification."""
    compose_spec = pytest.importorskip("compose_spec", reason="pip install compose-spec")
    compose_spec.PyCompose.from_json(json.dumps(read(path)))


def test_the_check_finds_a_mistake() -> None:
    """A misspelt setting of security, which Compose would refuse, is refused here, too."""
    compose_spec = pytest.importorskip("compose_spec", reason="pip install compose-spec")
    document = read(MAIN)
    document["services"]["babelclip"]["read_olny"] = document["services"]["babelclip"].pop("read_only")
    with pytest.raises(ValueError, match="read_olny"):
        compose_spec.PyCompose.from_json(json.dumps(document))


@pytest.mark.parametrize("name", services())
def test_a_service_may_do_nothing_special(name: str) -> None:
    """No capability, no way to one, no writing beside the mounts, no door into the machine."""
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] or name == "milvus"
    assert not {"privileged", "devices", "cap_add", "pid", "ipc"} & service.keys()
    assert service.get("network_mode", "service:pod") == "service:pod"
    assert not any("docker.sock" in source for source in sources(service))


def test_only_the_gateway_and_what_watches_it_are_published() -> None:
    """What is published is on loopback unless the operator says otherwise, and TorchServe is not."""
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert [port.rpartition(":")[2] for port in published] == ["8000", "8001", "3000", "9090", "9093"]
    for port in published:
        assert port.startswith("127.0.0.1:")
        assert port.split(":")[1] not in TORCHSERVE


def test_what_is_named_is_there() -> None:
    """What a service names (volumes, secrets, services) is declared, and the Dockerfile has its target."""
    document = read(MAIN)
    for service in document["services"].values():
        named = [source for source in sources(service) if not source.startswith(".")]
        assert set(named) <= document["volumes"].keys()
        assert set(service.get("secrets", [])) <= document["secrets"].keys()
        assert set(service.get("depends_on", {})) <= document["services"].keys()
    assert document["services"]["babelclip"]["build"]["target"] in TARGETS


@pytest.mark.parametrize("path", [path for path in FILES if path != MAIN], ids=lambda path: path.name)
def test_a_further_file_changes_what_is_there(path: Path) -> None:
    """A file that is laid over the first names its services, and its own secrets."""
    document = read(path)
    assert document["services"].keys() <= services().keys()
    for service in document["services"].values():
        assert set(service.get("secrets", [])) <= document.get("secrets", {}).keys()
        assert service.get("build", {}).get("target", "cpu") in TARGETS


def test_mounted_files_are_in_the_repository() -> None:
    """A file that is not there would be mounted as an empty folder, and the service would not start."""
    mounted = [source for service in services().values() for source in sources(service)]
    ours = {source for source in mounted if source.startswith("./")}
    assert ours
    missing = sorted(source for source in ours if not (DEPLOY / source).exists())
    assert not missing


def test_the_pod_needs_nothing_but_its_image() -> None:
    """The one command works from a fresh checkout: further files of settings may be absent."""
    for service in services().values():
        assert all(not entry["required"] for entry in service.get("env_file", []))
        if "profiles" not in service:
            assert not service.get("secrets")
