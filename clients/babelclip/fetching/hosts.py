"""The hosts from which images may be fetched: those that somebody has named."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yarl

_ENTRY = re.compile(r"(\*|(\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


class Hosts:
    """A list of hosts with their ports.

    Args:
        entries: `HOST` or `HOST:PORT`; `*.HOST` is every name below it, `*` every name. Without a port it is
            80 for http and 443 for https. An address of version 6 stands in brackets.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        for entry in entries:
            if not _ENTRY.fullmatch(entry):
                raise ValueError(f"{entry!r} is no host; an entry is HOST, HOST:PORT, *.HOST, or * for all")
        self._allowed = [_parted(entry) for entry in entries]

    def __contains__(self, url: yarl.URL) -> bool:
        host = (url.host or "").lower().removesuffix(".")
        usual, port = url.is_default_port(), url.port
        return any(
            (usual if at is None else port == at) and _matches(name, host) for name, at in self._allowed
        )


def _parted(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    if not colon or entry.endswith("]"):
        host, port = entry, ""
    return host.strip("[]").lower(), int(port) if port else None


def _matches(name: str, host: str) -> bool:
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return name in ("*", host)
