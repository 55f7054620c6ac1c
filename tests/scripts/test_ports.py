"""Ports that cannot be listened on are a sentence before the start, and no stack trace after it."""

import errno
import os
import socket

import pytest

from serving import LaunchError
from serving.ports import check_ports
from serving.settings import LISTENERS, free_ports


def test_free_ports_are_free() -> None:
    """What nothing listens on can be listened on, and can be again after it was looked at."""
    listeners = {name: ("127.0.0.1", port) for name, port in free_ports().items()}
    check_ports(listeners)
    check_ports(listeners)
    check_ports({"inference": ("::1", listeners["inference"][1])})


def test_a_port_in_use_is_named_and_who_uses_it() -> None:
    """The operator reads which listener, which port and which process, and what else can be done."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LaunchError) as refused:
            check_ports({"management": ("127.0.0.1", port)})
    for part in ("management", f"127.0.0.1:{port}", f"process {os.getpid()}", "--ports auto"):
        assert part in str(refused.value)


def test_two_listeners_need_two_ports() -> None:
    """The same port given twice is said to be that, and not another program's."""
    port = free_ports()["metrics"]
    with pytest.raises(LaunchError, match="metrics is to listen there"):
        check_ports({"metrics": ("127.0.0.1", port), "inference": ("127.0.0.1", port)})


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    """A port is a number of two bytes."""
    with pytest.raises(LaunchError, match="1 to 65535"):
        check_ports({"inference": ("127.0.0.1", port)})


@pytest.mark.parametrize(("host", "says"), [("203.0.113.1", "no address of this machine"), ("a..b", "host")])
def test_a_host_that_is_not_here_is_refused(host: str, says: str) -> None:
    """Another machine's address, and a name that nobody can have."""
    with pytest.raises(LaunchError, match=says):
        check_ports({"inference": (host, free_ports()["inference"])})


def test_a_port_of_roots_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not listen on a low port learns that it is the port's number."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(LaunchError, match="below 1024"):
        check_ports({LISTENERS[0]: ("127.0.0.1", 80)})
