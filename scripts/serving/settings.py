"""TorchServe's configuration for one run: config.properties with this run's addresses and absolute paths."""

import contextlib
import errno
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from serving import LaunchError

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


def read_config(config: Path) -> str:
    """Return the text of a configuration.

    Raises:
        LaunchError: the file cannot be read.
    """
    try:
        return config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise LaunchError(f"cannot read the configuration {config}: {problem}") from problem


def read_properties(text: str) -> dict[str, str]:
    """Return the `key=value` lines of a Java properties file; the last one of a key holds, as in Java."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#!")
    return {key.strip(): value.strip() for key, _, value in pairs}


def free_ports() -> dict[str, int]:
    """Return five ports of 127.0.0.1 that nothing listens on, one for each listener."""
    with contextlib.ExitStack() as held:
        # All are held at once, so that no two are the same.
        sockets = [held.enter_context(socket.socket()) for _ in LISTENERS]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return {name: opened.getsockname()[1] for name, opened in zip(LISTENERS, sockets, strict=True)}


def check_free(addresses: Addresses) -> None:
    """Listen at all addresses for a moment.

    Raises:
        LaunchError: something listens at one of them already, or two are the same.
    """
    with contextlib.ExitStack() as held:
        for listener, url in asdict(addresses).items():
            host, port = urlsplit(url).hostname, urlsplit(url).port
            # What else may be wrong with an address, TorchServe says.
            with contextlib.suppress(OSError):
                family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                opened = held.enter_context(socket.socket(family, kind, protocol))
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    opened.bind(place)
                    opened.listen()
                except OSError as problem:
                    if problem.errno == errno.EADDRINUSE:
                        raise LaunchError(
                            f"port {port} of {host} is taken, which is that of {listener}: end what listens"
                            f" there, or choose another with --{listener.replace('_', '-')}-port, or free"
                            " ones with --ports auto"
                        ) from None


def make_settings(config: Path, ports: Mapping[str, int], *, workers: int) -> Settings:
    """Return the settings of `config` with `ports` (by listener; those missing stay) and absolute paths.

    `workers` is how many processes serve each tower.

    Raises:
        LaunchError: the file cannot be read, or says something scripts/serve does not serve with.
    """
    text = read_config(config)
    given = read_properties(text)
    if given.get("disable_token_authorization", "false").lower() == "true":
        raise LaunchError(f"{config} switches tokens off; a server started here keeps them on")

    changes = {key: str(config.resolve().parent / given[key]) for key in PATHS if given.get(key)}
    changes["default_workers_per_model"] = str(workers)
    reached = {}
    for listener in ("inference", "management", "metrics"):
        key = f"{listener}_address"
        try:
            address = urlsplit(given.get(key, f"http://127.0.0.1:{DEFAULT_PORTS[listener]}"))
            port = ports.get(listener) or address.port or DEFAULT_PORTS[listener]
            if not address.hostname:
                raise ValueError
        except ValueError:
            raise LaunchError(
                f"{config}: {key}={given[key]} is no address such as http://127.0.0.1:8080"
            ) from None
        changes[key] = f"{address.scheme}://{address.hostname}:{port}"
        reached[listener] = f"{address.scheme}://{_reachable(address.hostname)}:{port}"
    for listener in ("grpc_inference", "grpc_management"):
        host = given.get(f"{listener}_address", "127.0.0.1")
        try:
            port = ports.get(listener) or int(given.get(f"{listener}_port", DEFAULT_PORTS[listener]))
        except ValueError:
            raise LaunchError(f"{config}: {listener}_port={given[f'{listener}_port']} is no port") from None
        changes[f"{listener}_port"] = str(port)
        reached[listener] = f"grpc://{_reachable(host)}:{port}"

    lines = [text.rstrip("\n"), "", "# Set by scripts/serve for this run; the last value of a key holds."]
    lines += [f"{key}={value}" for key, value in changes.items()]
    return Settings("\n".join(lines) + "\n", Addresses(**reached))


def _reachable(host: str) -> str:
    """Return the address to call a listener at that is bound to `host`."""
    return "127.0.0.1" if host in ("", "0.0.0.0") else host
