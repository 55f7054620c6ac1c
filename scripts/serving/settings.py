"""TorchServe's configuration for one run: config.properties with this run's addresses and absolute paths."""

import codecs
import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from serving import LaunchError
from serving.properties import read_properties, write_properties

# Properties that hold a path. TorchServe takes a relative one from its current folder, here that of the run.
PATHS = (
    "workflow_store",
    "metrics_config",
    "private_key_file",
    "certificate_file",
    "keystore",
    "plugins_path",
)

LISTENERS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")
DEFAULT_PORTS = dict(zip(LISTENERS, (8080, 8081, 8082, 7070, 7071), strict=True))
# An IPv6 address stands in TorchServe's HTTP addresses by a name, which Java finds in a file of the run.
NAMED = "babelclip-"
HOSTS = "hosts"


@dataclass(frozen=True)
class Addresses:
    """Where a server listens, as its callers write it."""

    inference: str  # http://127.0.0.1:8080
    management: str  # http://127.0.0.1:8081
    metrics: str  # http://127.0.0.1:8082
    grpc_inference: str  # grpc://127.0.0.1:7070
    grpc_management: str  # grpc://127.0.0.1:7071


@dataclass(frozen=True)
class Settings:
    """A configuration that TorchServe can be started with, and what it says."""

    text: str
    addresses: Addresses
    listeners: Mapping[str, tuple[str, int]]  # The host and the port that each is to be bound to.
    hosts: str  # Lines for the file of hosts that Java is to look names up in; empty: it need not.


def free_ports() -> dict[str, int]:
    """Return five ports of 127.0.0.1 that nothing listens on, one for each listener."""
    with contextlib.ExitStack() as held:
        # All are held at once, so that no two are the same.
        sockets = [held.enter_context(socket.socket()) for _ in LISTENERS]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return {name: opened.getsockname()[1] for name, opened in zip(LISTENERS, sockets, strict=True)}


def make_settings(config: Path, ports: Mapping[str, int], *, workers: int) -> Settings:
    """Return the settings of `config` with `ports` (by listener; those missing stay) and absolute paths.

    `workers` is how many processes serve each tower.

    Raises:
        LaunchError: the file cannot be read, or says something scripts/serve does not serve with.
    """
    values = read_config(config)
    if values.get("disable_token_authorization", "false").lower() == "true":
        raise LaunchError(f"{config} switches tokens off; a server started here keeps them on")
    for key in PATHS:
        if given := values.get(key):
            path = config.resolve().parent / given
            # Java takes all archives of a folder by a star.
            if not path.exists() and path.name != "*":
                raise LaunchError(f"{config}: {key}={given} cannot be read: there is no {path}")
            values[key] = str(path)
    values["default_workers_per_model"] = str(workers)

    listeners: dict[str, tuple[str, int]] = {}
    reached, hosts = {}, []
    for listener in ("inference", "management", "metrics"):
        key = f"{listener}_address"
        given = values.get(key, f"http://127.0.0.1:{DEFAULT_PORTS[listener]}")
        try:
            address = urlsplit(given)
            port = ports.get(listener) or address.port or DEFAULT_PORTS[listener]
            if address.scheme not in ("http", "https") or not address.hostname:
                raise ValueError
            written = _without_colons(address.hostname, listener)
        except ValueError:
            raise LaunchError(
                f"{config}: {key}={given} is no address such as http://127.0.0.1:8080"
            ) from None
        if written.startswith(NAMED):
            hosts.append(f"{address.hostname} {written}")
        values[key] = f"{address.scheme}://{written}:{port}"
        reached[listener] = f"{address.scheme}://{_reachable(address.hostname)}:{port}"
        listeners[listener] = (address.hostname, port)
    for listener in ("grpc_inference", "grpc_management"):
        key = f"{listener}_port"
        host = values.get(f"{listener}_address", "127.0.0.1").strip("[]")
        try:
            port = ports.get(listener) or int(values.get(key, DEFAULT_PORTS[listener]))
        except ValueError:
            raise LaunchError(f"{config}: {key}={values[key]} is no port") from None
        values[key] = str(port)
        reached[listener] = f"grpc://{_reachable(host)}:{port}"
        listeners[listener] = (host, port)
    if hosts:
        values["vmargs"] = f"{values.get('vmargs', '')} -Djdk.net.hosts.file={HOSTS}".lstrip()

    # These two TorchServe's launcher reads, which is written in Python and takes a line as it stands.
    plain = {key: values.pop(key) for key in ("vmargs", "plugins_path") if key in values}
    text = write_properties(values) + "".join(f"{key}={value}\n" for key, value in plain.items())
    return Settings(text, Addresses(**reached), listeners, "".join(f"{line}\n" for line in hosts))


def read_config(config: Path) -> dict[str, str]:
    """Return the keys and values of a file in UTF-8, as editors write it, or else in Java's own ISO-8859-1.

    Raises:
        LaunchError: the file cannot be read.
    """
    try:
        content = config.read_bytes()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise LaunchError(f"cannot read the configuration {config}: it is in UTF-16; save it as UTF-8")
        try:
            return read_properties(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return read_properties(content.decode("iso-8859-1"))
    except (OSError, ValueError) as problem:
        raise LaunchError(f"cannot read the configuration {config}: {problem}") from problem


def _without_colons(host: str, listener: str) -> str:
    """Return a host as TorchServe takes it in an HTTP address, where it ends at the first colon."""
    if ":" not in host:
        return host
    # To Java all addresses of the one kind are all of both.
    return "0.0.0.0" if ip_address(host).is_unspecified else f"{NAMED}{listener.replace('_', '-')}"


def _reachable(host: str) -> str:
    """Return the host to call a listener at that is bound to `host`, as it stands in an address."""
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return "[::1]" if address.is_unspecified else f"[{address}]"
