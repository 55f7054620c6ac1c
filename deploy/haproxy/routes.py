"""HTTPRoute and GRPCRoute of the Gateway API, read: which requests go to which Services, and in what shares.

Read is what the chart writes and what an operator would change in it: hostnames; matches by exact header, by
path or by gRPC method; backendRefs with weights; timeouts. Anything else is refused by its name, because a
route of which a part is passed over sends requests where nobody wants them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Transport = Literal["http", "grpc"]
GROUP = "gateway.networking.k8s.io"
_KINDS: Mapping[str, Transport] = {"HTTPRoute": "http", "GRPCRoute": "grpc"}
_HEADER = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9/._~!$&()*+,;=:@%-]{0,1023}")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,1023}")
_DURATION = re.compile(r"(\d{1,5})(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LARGEST_WEIGHT = 1_000_000


class RouteError(ValueError):
    """A document is no route that can be translated; the message names the place in it."""


@dataclass(frozen=True)
class Match:
    """What a request must be like.

    Attributes:
        headers: names and exact values, all of which it must have.
        path: what its path is, or begins with, segment by segment.
        exact: whether the path is all of it.
    """

    headers: tuple[tuple[str, str], ...] = ()
    path: str = "/"
    exact: bool = False

    @property
    def precedence(self) -> tuple[bool, int, int]:
        """The greater wins over the smaller, as the Gateway API has it; of equal ones the first."""
        return self.exact, len(self.path), len(self.headers)


@dataclass(frozen=True)
class Rule:
    """Requests that match go to these Services, to each by its share of all weights."""

    match: Match
    weights: Mapping[str, int]


@dataclass(frozen=True)
class Route:
    """The rules of a document, those that win first.

    Attributes:
        hostnames: the hosts it is for; none for all of them.
        seconds: the longest that a request may take; None where no rule says so.
    """

    name: str
    transport: Transport
    hostnames: tuple[str, ...]
    rules: tuple[Rule, ...]
    seconds: float | None = None


def read_routes(documents: Iterable[Any]) -> list[Route]:
    """The routes among documents of Kubernetes; others, and empty ones, are passed over.

    Raises:
        RouteError: a route says what cannot be translated.
    """
    routes = []
    for document in documents:
        if isinstance(document, Mapping) and str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
            kind = document.get("kind")
            if isinstance(kind, str) and kind in _KINDS:
                routes.append(_route(document, kind))
    return routes


def _route(document: Mapping[str, Any], kind: str) -> Route:
    name = str(_table(document.get("metadata"), kind).get("name", ""))
    where = f"{kind} {name!r}"
    if not _NAME.fullmatch(name):
        raise RouteError(f"{where}: metadata.name must be the name of an object in Kubernetes")
    spec = _only(document.get("spec"), {"parentRefs", "hostnames", "rules"}, f"{where}: spec")
    hostnames = tuple(str(host) for host in _list(spec.get("hostnames", []), f"{where}: hostnames"))
    for host in hostnames:
        if not _HOST.fullmatch(host):
            raise RouteError(f"{where}: hostnames: {host!r} is neither a host's name nor *.DOMAIN")
    rules: list[Rule] = []
    limits = []
    for number, entry in enumerate(_list(spec.get("rules"), f"{where}: rules")):
        here = f"{where}: rules[{number}]"
        rule = _only(entry, {"name", "matches", "backendRefs", "timeouts"}, here)
        weights = _weights(rule.get("backendRefs"), f"{here}.backendRefs")
        matches = _list(rule.get("matches") or [{}], f"{here}.matches")
        read = _http_match if kind == "HTTPRoute" else _grpc_match
        rules += [
            Rule(read(match, f"{here}.matches[{place}]"), weights) for place, match in enumerate(matches)
        ]
        limits += _timeouts(rule.get("timeouts") or {}, f"{here}.timeouts")
    rules.sort(
        key=lambda rule: rule.match.precedence, reverse=True
    )  # A stable sort: equal ones stay in order.
    return Route(name, _KINDS[kind], hostnames, tuple(rules), max(limits, default=None))


def _http_match(value: Any, where: str) -> Match:
    match = _only(value, {"path", "headers"}, where)
    path = _only(match.get("path") or {}, {"type", "value"}, f"{where}.path")
    kind, prefix = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind not in ("PathPrefix", "Exact"):
        raise RouteError(f"{where}.path.type must be PathPrefix or Exact, not {kind!r}")
    if not isinstance(prefix, str) or not _PATH.fullmatch(prefix):
        raise RouteError(f"{where}.path.value {prefix!r} is no path of a URL")
    return Match(_headers(match, where), prefix, kind == "Exact")


def _grpc_match(value: Any, where: str) -> Match:
    match = _only(value, {"method", "headers"}, where)
    method = _only(match.get("method") or {}, {"type", "service", "method"}, f"{where}.method")
    if method.get("type", "Exact") != "Exact":
        raise RouteError(f"{where}.method.type must be Exact, not {method['type']!r}")
    names = [method[part] for part in ("service", "method") if part in method]
    if "method" in method and "service" not in method:
        raise RouteError(f"{where}.method names a method of no service")
    for name in names:
        if not isinstance(name, str) or not _METHOD.fullmatch(name):
            raise RouteError(f"{where}.method: {name!r} is no name of a service or method")
    return Match(_headers(match, where), "/" + "/".join(names), exact=len(names) == 2)


def _headers(match: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for number, entry in enumerate(_list(match.get("headers") or [], f"{where}.headers")):
        here = f"{where}.headers[{number}]"
        header = _only(entry, {"type", "name", "value"}, here)
        if header.get("type", "Exact") != "Exact":
            raise RouteError(f"{here}.type must be Exact, not {header['type']!r}")
        name, value = header.get("name"), header.get("value")
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise RouteError(f"{here}.name {name!r} is no name of a header")
        if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
            raise RouteError(f"{here}.value must be a string of printable ASCII, not {value!r}")
        found.append((name, value))
    return tuple(found)


def _weights(value: Any, where: str) -> dict[str, int]:
    weights: dict[str, int] = {}
    for number, entry in enumerate(_list(value, where)):
        here = f"{where}[{number}]"
        backend = _only(entry, {"group", "kind", "name", "port", "weight"}, here)
        if backend.get("kind", "Service") != "Service" or backend.get("group", ""):
            raise RouteError(f"{here} must be a Service")
        name, weight = backend.get("name"), backend.get("weight", 1)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RouteError(f"{here}.name must be the name of a Service, not {name!r}")
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= _LARGEST_WEIGHT:
            raise RouteError(f"{here}.weight must be from 0 to {_LARGEST_WEIGHT:,}, not {weight!r}")
        weights[name] = weights.get(name, 0) + weight
    return weights


def _timeouts(value: Any, where: str) -> list[float]:
    found = []
    for name, duration in _only(value, {"request", "backendRequest"}, where).items():
        parts = _DURATION.findall(str(duration))
        if "".join(number + unit for number, unit in parts) != duration or not parts:
            raise RouteError(f"{where}.{name} must be a duration such as 30s or 1m30s, not {duration!r}")
        found.append(sum(int(number) * _SECONDS[unit] for number, unit in parts))
    return found


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RouteError(f"{where} must be a table, not {type(value).__name__}")
    return value


def _only(value: Any, known: set[str], where: str) -> Mapping[str, Any]:
    table = _table(value, where)
    if extra := sorted(str(key) for key in table if key not in known):
        raise RouteError(f"{where}.{extra[0]} is not translated; {', '.join(sorted(known))} are")
    return table


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RouteError(f"{where} must be a list, not {type(value).__name__}")
    return value
