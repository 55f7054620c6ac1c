"""Whether TorchServe will be able to listen where it is to, said before it is started.

TorchServe itself ends some seconds later, with a stack trace in its log.
"""

import contextlib
import errno
import socket
from collections.abc import Mapping

import psutil

from serving import LaunchError


def check_ports(listeners: Mapping[str, tuple[str, int]]) -> None:
    """Listen for a moment on the host and port of every listener, on all at once.

    Raises:
        LaunchError: one cannot be; the message names it, and says what to do.
    """
    with contextlib.ExitStack() as held:
        taken: dict[int, str] = {}
        for listener, (host, port) in listeners.items():
            where = f"{listener} cannot listen on {f'[{host}]' if ':' in host else host}:{port}"
            if not 0 < port < 65536:
                raise LaunchError(f"{where}: a port is a number from 1 to 65535")
            try:
                held.enter_context(_listening(host, port))
            except (OSError, UnicodeError) as problem:
                raise LaunchError(f"{where}: {_reason(problem, port, taken)}") from problem
            taken[port] = listener


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; of several addresses of a host the one that Java takes."""
    # Java takes no host at all for loopback, and of the addresses of a name one of IPv4 first.
    found = socket.getaddrinfo(host or "127.0.0.1", port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(1)
    except OSError:
        opened.close()
        raise
    return opened


def _reason(problem: OSError | UnicodeError, port: int, taken: Mapping[int, str]) -> str:
    """Why one could not listen, as a sentence for the operator."""
    if isinstance(problem, socket.gaierror | UnicodeError):
        return "there is no such host"
    if problem.errno == errno.EADDRINUSE:
        user = f"{taken[port]} is to listen there" if port in taken else f"{_user(port)} uses that port"
        return f"{user}; choose another, or --ports auto"
    if problem.errno == errno.EACCES:
        return "this user may not; ports below 1024 are root's"
    if problem.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "that is no address of this machine"
    return problem.strerror or str(problem)


def _user(port: int) -> str:
    """What listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} (process {one.pid})"
    return "another program"
