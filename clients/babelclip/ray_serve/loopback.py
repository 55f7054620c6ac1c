"""What a replica of Ray Serve would listen on for everybody, and has no setting for."""

from __future__ import annotations

from typing import Any

from babelclip.transports.ray_handles import import_ray

_EVERYWHERE = "[::]"
_LOOPBACK = "127.0.0.1"


def listen_on_loopback() -> None:
    """In the process of a replica, before it listens: let it do so on loopback alone.

    Each replica opens a gRPC server for calls of other deployments, which takes pickles from whoever reaches
    it and asks for no token. Calls by handles go by Ray itself, so that nobody misses it.

    Raises:
        AttributeError: this version of Ray does it otherwise; better no replica than an open one.
    """
    replica = import_ray("ray.serve._private.replica")
    add_port = replica.add_port_to_grpc_server

    def add_loopback_port(server: Any, address: str, *more: Any, **named: Any) -> Any:
        return add_port(server, address.replace(_EVERYWHERE, _LOOPBACK), *more, **named)

    replica.add_port_to_grpc_server = add_loopback_port
