"""Which proxy the environment names for a server, if any.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY    http://proxy:3128, also without the scheme
    NO_PROXY                              hosts, domains, addresses and networks that are reached without one

Read here and not by the libraries that carry the calls, because they differ in what they understand, and one
of them fails over a network of IPv6 addresses in NO_PROXY. This machine is never reached through a proxy: the
proxy would look for the server on its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import urllib.request


def proxy_for(scheme: str, host: str) -> str | None:
    """The address of the proxy for `http` or `https` calls to a host; None where it is reached directly."""
    if is_this_machine(host) or _excepted(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def grpc_options(target: str) -> tuple[tuple[str, int], ...]:
    """What a channel to `target` (host:port) needs beside others: gRPC itself reads the same variables."""
    return (("grpc.enable_http_proxy", 0),) if is_this_machine(target.rpartition(":")[0]) else ()


def kind_of(proxy: str) -> str:
    """http, https, socks5 and so on; a proxy's address may hold a password, its kind is safe to show."""
    return proxy.partition("://")[0].lower()


def is_this_machine(host: str) -> bool:
    """Whether a host's name or address is that of this machine to itself."""
    address = _address(host)
    if address is None:
        return host.lower().rstrip(".") == "localhost"
    return address.is_loopback or address.is_unspecified


def _excepted(host: str) -> bool:
    """Whether NO_PROXY, or the system's settings on macOS and Windows, name the host."""
    if urllib.request.proxy_bypass(host):
        return True
    address = _address(host)
    if address is None:
        return False
    for entry in urllib.request.getproxies().get("no", "").split(","):
        # A network, or an address as URLs write it, which the standard library does not know.
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
