"""Writes HAProxy's configuration from routes of the Gateway API and a file of replicas.

    python -m deploy.haproxy routes.yaml --endpoints endpoints.yaml > haproxy.cfg
    helm template … | python -m deploy.haproxy - --endpoints endpoints.yaml > haproxy.cfg

This folder has an example of each file. docs/replicas.md says how a running HAProxy takes it over.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import yaml

from deploy.haproxy.configuration import Listen, render
from deploy.haproxy.endpoints import EndpointError, read_endpoints
from deploy.haproxy.routes import RouteError, read_routes

_TEXTS = {
    "http": "where it listens for HTTP",
    "grpc": "where it listens for gRPC",
    "certificate": "a file in PEM with certificate and key, for TLS",
    "folder": "of HAProxy's sockets and state",
    "check_seconds": "how often each replica is asked whether it embeds",
    "check_timeout": "seconds in which it must have said so",
    "idle_seconds": "after which a connection without a request is closed",
}


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.haproxy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "routes", help="a file of documents in YAML, HTTPRoute and GRPCRoute among them; - for stdin"
    )
    parser.add_argument("--endpoints", type=Path, required=True, help="the replicas of each Service, in YAML")
    for field in fields(Listen):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{_TEXTS[field.name]} (default: {field.default or 'none'})",
        )
    given = parser.parse_args()
    try:
        text = sys.stdin.read() if given.routes == "-" else Path(given.routes).read_text(encoding="utf-8")
        routes = read_routes(yaml.safe_load_all(text))
        endpoints = read_endpoints(yaml.safe_load(given.endpoints.read_text(encoding="utf-8")))
        listen = Listen(**{field.name: getattr(given, field.name) for field in fields(Listen)})
        sys.stdout.write(render(routes, endpoints, listen))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RouteError, EndpointError) as error:
        print(f"haproxy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
