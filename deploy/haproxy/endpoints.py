"""The replicas behind each Service, which a cluster knows as EndpointSlices: a file, where there is none.

babelclip-blue:
  - {name: blue-1, address: 10.0.0.11, http: 8000, grpc: 8001}
  - {name: blue-2, address: 10.0.0.12, http: 8000, grpc: 8001}
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FIELDS = {"name", "address", "http", "grpc"}


class EndpointError(ValueError):
    """The file of endpoints is none; the message names the place in it."""


@dataclass(frozen=True)
class Endpoint:
    """A replica: its gateway's address, and the ports on which it speaks HTTP and gRPC."""

    name: str
    address: str
    http: int
    grpc: int

    def at(self, port: int) -> str:
        """HOST:PORT, as HAProxy reads it."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"


Endpoints = Mapping[str, Sequence[Endpoint]]


def read_endpoints(content: Any) -> dict[str, list[Endpoint]]:
    """By the Service's name, its replicas.

    Raises:
        EndpointError: it is no such table.
    """
    if not isinstance(content, Mapping):
        raise EndpointError("the endpoints must be a table of Services, each with a list of replicas")
    found: dict[str, list[Endpoint]] = {}
    for service, entries in content.items():
        if not isinstance(entries, list):
            raise EndpointError(f"{service} must have a list of replicas")
        found[str(service)] = [_endpoint(entry, f"{service}[{n}]") for n, entry in enumerate(entries)]
        names = [endpoint.name for endpoint in found[str(service)]]
        if len(set(names)) < len(names):
            raise EndpointError(f"{service} has two replicas of one name")
    return found


def _endpoint(entry: Any, where: str) -> Endpoint:
    if not isinstance(entry, Mapping) or set(entry) != _FIELDS:
        raise EndpointError(f"{where} must have {', '.join(sorted(_FIELDS))}")
    name, address = entry["name"], entry["address"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise EndpointError(f"{where}.name must be up to 63 letters, digits and . _ -")
    try:
        ipaddress.ip_address(str(address))
    except ValueError:
        raise EndpointError(f"{where}.address must be an IP address, not {address!r}") from None
    for transport in ("http", "grpc"):
        port = entry[transport]
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            raise EndpointError(f"{where}.{transport} must be a port, not {port!r}")
    return Endpoint(name, str(address), entry["http"], entry["grpc"])
