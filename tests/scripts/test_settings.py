"""The configuration a server is started with: config.properties, with this run's ports and absolute paths."""

from pathlib import Path

import pytest

from serving import LaunchError
from serving.properties import read_properties
from serving.settings import LISTENERS, free_ports, make_settings
from tests.places import REPOSITORY


def test_the_repositorys_settings_become_this_runs() -> None:
    """Ports change where they are given, relative paths are those beside the file, the rest stays."""
    ports = {"inference": 12345, "grpc_management": 23456}
    settings = make_settings(REPOSITORY / "config.properties", ports, workers=3)
    before = read_properties((REPOSITORY / "config.properties").read_text())
    after = read_properties(settings.text)
    assert settings.addresses.inference == "http://127.0.0.1:12345"
    assert settings.addresses.management == "http://127.0.0.1:8081"
    assert settings.addresses.grpc_inference == "grpc://127.0.0.1:7070"
    assert settings.addresses.grpc_management == "grpc://127.0.0.1:23456"
    assert after["inference_address"] == "http://127.0.0.1:12345"
    assert after["grpc_management_port"] == "23456"
    for key in ("workflow_store", "metrics_config"):
        assert Path(after[key]) == REPOSITORY / before[key]
        assert Path(after[key]).exists()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {
        "inference_address",
        "grpc_management_port",
        "workflow_store",
        "metrics_config",
        "default_workers_per_model",
    }
    assert after["default_workers_per_model"] == "3"


def test_the_shipped_settings_are_the_safe_ones() -> None:
    """Loopback, tokens, no model from an address, no workflow: what docs promise is what the file says."""
    shipped = read_properties((REPOSITORY / "config.properties").read_text())
    hosts = [shipped[f"{name}_address"] for name in LISTENERS]
    assert all("127.0.0.1" in host for host in hosts)
    assert shipped["disable_token_authorization"] == "false"
    assert shipped["enable_model_api"] == "false"
    assert shipped["allowed_urls"] == "none"
    assert not list((REPOSITORY / shipped["workflow_store"]).glob("*.*ar"))


def test_all_interfaces_are_reached_by_loopback(tmp_path: Path) -> None:
    """A server bound to every interface, as in a container, is proved through one that can be called."""
    config = tmp_path / "config.properties"
    config.write_text("inference_address=http://0.0.0.0:9000\ngrpc_inference_address=0.0.0.0\n")
    settings = make_settings(config, {}, workers=1)
    assert read_properties(settings.text)["inference_address"] == "http://0.0.0.0:9000"
    assert settings.addresses.inference == "http://127.0.0.1:9000"
    assert settings.addresses.grpc_inference == "grpc://127.0.0.1:7070"


def test_ipv6_addresses_are_listened_on_and_called(tmp_path: Path) -> None:
    """TorchServe's HTTP addresses end at the first colon: an IPv6 one stands there by a name."""
    config = tmp_path / "config.properties"
    config.write_text(
        "inference_address=http://[::1]:9000\nmanagement_address=http://[::]:9001\n"
        "grpc_inference_address=::1\ngrpc_management_address=[::]\nvmargs=-Xmx1g\n"
    )
    settings = make_settings(config, {}, workers=1)
    after = read_properties(settings.text)
    assert after["inference_address"] == "http://babelclip-inference:9000"
    assert settings.hosts == "::1 babelclip-inference\n"
    assert after["vmargs"] == "-Xmx1g -Djdk.net.hosts.file=hosts"
    # All addresses of one kind are all of both to Java.
    assert after["management_address"] == "http://0.0.0.0:9001"
    assert settings.addresses.inference == "http://[::1]:9000"
    assert settings.addresses.management == "http://[::1]:9001"
    assert settings.addresses.grpc_inference == "grpc://[::1]:7070"
    assert settings.addresses.grpc_management == "grpc://[::1]:7071"
    assert settings.listeners["inference"] == ("::1", 9000)
    assert settings.listeners["grpc_management"] == ("::", 7071)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_settings_are_read_as_editors_write_them(tmp_path: Path, encoding: str, newline: str) -> None:
    """UTF-8, with a mark at the beginning or without, Java's own encoding, and Windows' ends of lines."""
    folder = tmp_path / "Mes modèles"
    folder.mkdir()
    (folder / "métriques.yaml").touch()
    config = folder / "config.properties"
    text = f"job_queue_size : 7{newline}# réglages{newline}metrics_config=métriques.yaml{newline}"
    config.write_bytes(text.encode(encoding))
    after = read_properties(make_settings(config, {}, workers=1).text)
    assert after["job_queue_size"] == "7"
    assert after["metrics_config"] == str(folder / "métriques.yaml")


def test_what_java_is_given_is_ascii(tmp_path: Path) -> None:
    """Java takes the bytes of a properties file for ISO-8859-1."""
    folder = tmp_path / "模型 é=:#"
    folder.mkdir()
    (folder / "metrics.yaml").touch()
    (folder / "config.properties").write_text("metrics_config=metrics.yaml\n")
    text = make_settings(folder / "config.properties", {}, workers=1).text
    assert text.isascii()
    assert read_properties(text)["metrics_config"] == str(folder / "metrics.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"disable_token_authorization=true\n", "tokens"),
        (b"\xff\xfe", "cannot read"),
        (None, "cannot read"),
        (b"inference_address=http://127.0.0.1:eight\n", "inference_address"),
        (b"management_address=nowhere\n", "management_address"),
        (b"metrics_address=http://[::1\n", "metrics_address"),
        (b"metrics_address=ftp://127.0.0.1\n", "metrics_address"),
        (b"metrics_address=http://127.0.0.1:70000\n", "metrics_address"),
        (b"metrics_config=missing.yaml\n", "there is no .*missing.yaml"),
        (b"default_workers_per_model=\\u12\n", "hexadecimal"),
        (b"grpc_inference_port=many\n", "grpc_inference_port"),
    ],
)
def test_settings_that_cannot_be_served_with_are_named(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    """A mistake in the file is one sentence that names it."""
    config = tmp_path / "config.properties"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(LaunchError, match=says):
        make_settings(config, {}, workers=1)


def test_free_ports_differ() -> None:
    """Every listener gets a port of its own."""
    ports = free_ports()
    assert set(ports) == set(LISTENERS)
    assert len(set(ports.values())) == len(LISTENERS)
