"""Which addresses are the Internet's, and not this network's own: judged where a socket is opened.

A name is looked up once for a connection, and the very address that was judged is then connected to: a name
that means another address the next time is judged the next time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Public by their number alone: what Azure's platform answers each machine at, and what is kept for protocols,
# where Oracle's does (older Pythons know a part of it).
_INSIDE = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolver(AbstractResolver):
    """The machine's own lookup, in threads of its own: a slow name holds up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name."""
        look = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=_NUMERIC
            )
            for kind, _, proto, _, address in await look
        ]

    async def close(self) -> None:
        """Waits for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole Internet reaches, and no way into this network.

    Of version 6 only global unicast is, without the ranges that carry an address of version 4 in them, which
    a router may send on to where it points.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found not in _GLOBAL_UNICAST or found.sixtofour is not None or found.teredo is not None:
            return False
    if any(found in network for network in _INSIDE):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def socket_to_public_address(info: Any) -> socket.socket:
    """For aiohttp: the socket with which the very address in `info` is then connected to.

    Raises:
        OSError: the address is no public one.
    """
    family, kind, proto, _, address = info
    if not is_public(str(address[0])):
        raise OSError(f"{address[0]} is no public address")
    return socket.socket(family, kind, proto)
