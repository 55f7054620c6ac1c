"""Routes and endpoints → the configuration of HAProxy.

A rule of a route first draws a Service by the weights, as gateways of Kubernetes do, then HAProxy takes the
replica of it that has the fewest requests under way. So a share is that of the requests, however many
replicas a Service has, and a replica that hangs is given no more than the others had when it began to.

Every replica is asked for `/readyz`, which embeds its golden items, by one backend for each Service; the
backends of HTTP and gRPC follow what that one finds. What a replica had under way when it is marked down is
ended at once, so that it is tried again elsewhere. What HAProxy itself may repeat are calls that embed, for
they change nothing; a change of a collection is repeated only where no replica had it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.haproxy.endpoints import Endpoint, Endpoints
from deploy.haproxy.routes import Match, Route, RouteError, Rule, Transport

# A request is repeated by HAProxy if it fits into this; 66 kB of JPEG are 88 kB in base64.
BUFFER_BYTES = 262_144
# Longer than the gateway waits for an engine, and for its callers to hear of it.
SECONDS = 180.0
_REPEATABLE = {
    "http": "/predictions/ /v1/embed /v2/embed /v1/similarity /v1/classify /v1/rerank /v2/rerank /v2/models/",
    "grpc": "/babelclip.v1.Embedder/ /org.pytorch.serve.grpc.inference.InferenceAPIsService/",
}


@dataclass(frozen=True)
class Listen:
    """What the proxy is told beside its routes.

    Attributes:
        http, grpc: ADDRESS:PORT of each; a frontend that no route is for is left out.
        certificate: a file in PEM with certificate and key, with which both speak TLS; "" for none.
        folder: of the socket by which HAProxy is operated, and of what it keeps over a reload.
        check_seconds: how often each replica is asked whether it embeds.
        check_timeout: seconds in which it must have said so. Two misses mark it down, one answer up.
        idle_seconds: after which a connection without a request is closed. An old worker may stay so long
            after a reload, beside what is under way.
    """

    http: str = "127.0.0.1:8000"
    grpc: str = "127.0.0.1:8001"
    certificate: str = ""
    folder: str = "/run/haproxy"
    check_seconds: float = 2.0
    check_timeout: float = 5.0
    idle_seconds: float = 10.0


def render(routes: Iterable[Route], endpoints: Endpoints, listen: Listen | None = None) -> str:
    """The content of haproxy.cfg.

    Raises:
        RouteError: a route names a Service of which the endpoints say nothing, or there is no route.
    """
    listen = listen or Listen()
    routes = sorted(routes, key=lambda route: _specificity(route.hostnames), reverse=True)
    if not routes:
        raise RouteError("there is no HTTPRoute and no GRPCRoute")
    sections = [_global(listen, routes), _defaults(listen, routes)]
    services: dict[Transport, list[str]] = {}
    for transport in ("http", "grpc"):
        own = [route for route in routes if route.transport == transport]
        if own:
            services[transport] = sorted(
                {name for route in own for rule in route.rules for name in rule.weights}
            )
            sections.append(_frontend(transport, own, listen))
    for name in sorted({name for names in services.values() for name in names}):
        if name not in endpoints:
            raise RouteError(f"a route names the Service {name}, of which the endpoints say nothing")
        sections.append(_ready(name, endpoints[name]))
        sections += [
            _backend(transport, name, endpoints[name])
            for transport, names in services.items()
            if name in names
        ]
    sections.append(["backend no-route", "http-request return status 404"])
    sections.append(["backend no-share", "http-request return status 503"])
    head = "# Written by python -m deploy.haproxy: change the routes or the endpoints, and write it anew.\n"
    return head + "\n".join("\n    ".join(section) + "\n" for section in sections)


def _global(listen: Listen, routes: Sequence[Route]) -> list[str]:
    return [
        "global",
        "log stdout format raw local0 notice",
        f"tune.bufsize {BUFFER_BYTES}",
        f"stats socket {_quoted(f'{listen.folder}/admin.sock')} mode 600 level admin expose-fd listeners",
        f"server-state-file {_quoted(f'{listen.folder}/servers')}",
        f"hard-stop-after {_milliseconds(_longest(routes))}",
    ]


def _defaults(listen: Listen, routes: Sequence[Route]) -> list[str]:
    longest = _milliseconds(_longest(routes))
    return [
        "defaults",
        "mode http",
        "log global",
        "timeout connect 2s",
        f"timeout client {longest}",
        f"timeout server {longest}",
        "timeout http-request 60s",
        f"timeout http-keep-alive {_milliseconds(listen.idle_seconds)}",
        f"timeout check {_milliseconds(listen.check_timeout)}",
        # After a reload a connection is closed with its next answer, and not under the next request.
        "option idle-close-on-response",
        "option redispatch 1",
        "retries 3",
        "retry-on conn-failure empty-response 503",
        "load-server-state-from-file global",
        f"default-server inter {_milliseconds(listen.check_seconds)} fall 2 rise 1"
        f" fastinter {_milliseconds(listen.check_seconds / 4)}"
        " on-marked-down shutdown-sessions",
    ]


def _frontend(transport: Transport, routes: Sequence[Route], listen: Listen) -> list[str]:
    lines = [f"frontend {transport}", _bind(transport, listen)]
    draws, uses = [], []
    for place, route in enumerate(routes):
        lines += _hosts(route.hostnames, f"host-{place}")
        for number, rule in enumerate(route.rules):
            conditions = [*([f"host-{place}"] if route.hostnames else []), *_conditions(rule.match)]
            drawn, used = _shares(transport, rule, conditions, f"txn.draw_{place}_{number}")
            draws += drawn
            uses += used
    return [*lines, *draws, *uses, "default_backend no-route"]


def _bind(transport: Transport, listen: Listen) -> str:
    address = listen.http if transport == "http" else listen.grpc
    if listen.certificate:
        protocols = "h2,http/1.1" if transport == "http" else "h2"
        return f"bind {address} ssl crt {_quoted(listen.certificate)} alpn {protocols}"
    return f"bind {address}" + (" proto h2" if transport == "grpc" else "")


def _shares(
    transport: Transport, rule: Rule, conditions: Sequence[str], draw: str
) -> tuple[list[str], list[str]]:
    """The lines that draw a Service by its weight, and those that send the request there."""
    weights = {name: weight for name, weight in rule.weights.items() if weight}
    condition = " ".join(conditions)
    suffix = f" if {condition}" if conditions else ""
    if not weights:
        return [], [f"use_backend no-share{suffix}"]
    *others, last = weights
    uses, reached = [], 0
    for name in others:
        reached += weights[name]
        share = f"{{ var({draw}) -m int lt {reached} }}"
        uses.append(f"use_backend {transport}-{name} if {condition}{' ' if conditions else ''}{share}")
    uses.append(f"use_backend {transport}-{last}{suffix}")
    draws = [f"http-request set-var({draw}) rand({sum(weights.values())}){suffix}"] if others else []
    return draws, uses


def _conditions(match: Match) -> list[str]:
    found = [f"{{ req.fhdr({name}) -m str {_quoted(value)} }}" for name, value in match.headers]
    if match.exact:
        found.append(f"{{ path -m str {_quoted(match.path)} }}")
    elif match.path.rstrip("/"):
        # Segment by segment: /v1 is for /v1 and /v1/models, and not for /v10.
        found.append(f"{{ path,concat(/) -m beg {_quoted(match.path.rstrip('/') + '/')} }}")
    return found


def _hosts(hostnames: Sequence[str], name: str) -> list[str]:
    whole = [host for host in hostnames if not host.startswith("*")]
    ends = [host.removeprefix("*") for host in hostnames if host.startswith("*")]
    asked = f"acl {name} req.hdr(host),field(1,:),lower -m"
    return [f"{asked} {kind} {' '.join(given)}" for kind, given in (("str", whole), ("end", ends)) if given]


def _ready(service: str, endpoints: Sequence[Endpoint]) -> list[str]:
    """Asked by nobody: its servers are those that are checked."""
    return [
        f"backend ready-{service}",
        "option httpchk",
        "http-check send meth GET uri /readyz ver HTTP/1.1 hdr host localhost",
        "http-check expect status 200",
        *(f"server {endpoint.name} {endpoint.at(endpoint.http)} check" for endpoint in endpoints),
    ]


def _backend(transport: Transport, service: str, endpoints: Sequence[Endpoint]) -> list[str]:
    lines = [f"backend {transport}-{service}", "balance leastconn"]
    if transport == "http":
        lines.append("option http-buffer-request")  # What is not here as a whole cannot be repeated.
    lines.append(f"acl repeatable path_beg {_REPEATABLE[transport]}")
    lines.append("http-request disable-l7-retry if !repeatable")
    for endpoint in endpoints:
        port, protocol = (endpoint.http, "") if transport == "http" else (endpoint.grpc, " proto h2")
        lines.append(
            f"server {endpoint.name} {endpoint.at(port)}{protocol} track ready-{service}/{endpoint.name}"
        )
    return lines


def _specificity(hostnames: Sequence[str]) -> int:
    """Routes of whole hosts come before those of a domain's, and these before those of all hosts."""
    if not hostnames:
        return 0
    return 1 if any(host.startswith("*") for host in hostnames) else 2


def _longest(routes: Sequence[Route]) -> float:
    return max((route.seconds for route in routes if route.seconds), default=SECONDS)


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
