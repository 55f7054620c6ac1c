"""The configuration a server is started with: config.properties, with this run's ports and absolute paths."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import LaunchError
from serving.settings import LISTENERS, check_free, free_ports, make_settings, read_properties

REPOSITORY = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"disable_token_authorization=true\n", "tokens"),
        (b"\xff\xfe", "cannot read"),
        (None, "cannot read"),
        (b"inference_address=http://127.0.0.1:eight\n", "inference_address"),
        (b"management_address=nowhere\n", "management_address"),
        (b"metrics_address=http://[::1\n", "metrics_address"),
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


@given(st.text())
def test_no_text_breaks_the_reader_of_properties(text: str) -> None:
    """Whatever a file holds, reading its properties ends with names and values."""
    for key, value in read_properties(text).items():
        assert key == key.strip()
        assert value == value.strip()


def test_free_ports_differ() -> None:
    """Every listener gets a port of its own."""
    ports = free_ports()
    assert set(ports) == set(LISTENERS)
    assert len(set(ports.values())) == len(LISTENERS)


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_port_that_is_taken_is_named(listener: str) -> None:
    """One sentence before anything starts, not the traces of Java: the port, whose it is, what to do."""
    ports = free_ports()
    settings = make_settings(REPOSITORY / "config.properties", ports, workers=1)
    check_free(settings.addresses)
    with socket.create_server(("127.0.0.1", ports[listener])):
        option = f"--{listener.replace('_', '-')}-port"
        with pytest.raises(LaunchError, match=rf"port {ports[listener]} of 127\.0\.0\.1 is taken.*{option}"):
            check_free(settings.addresses)
    check_free(settings.addresses)


def test_two_listeners_do_not_share_a_port() -> None:
    """--inference-port may be that of another listener, which only the second one to start would notice."""
    ports = free_ports()
    ports["inference"] = ports["metrics"]
    settings = make_settings(REPOSITORY / "config.properties", ports, workers=1)
    with pytest.raises(LaunchError, match=f"port {ports['metrics']} .* is taken"):
        check_free(settings.addresses)
