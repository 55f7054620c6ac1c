"""Starts the gateway: python -m gateway [--config gateway.toml]; BABELCLIP_GATEWAY_… variables win."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gateway import keys, request_log, serve, workers
from gateway.settings import Settings, SettingsError, is_loopback, read


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The front door of babelclip.")
    parser.add_argument("--config", type=Path, help="a TOML file; docs/gateway.md lists its entries")
    parser.add_argument("--until-eof", action="store_true", help="end, too, when the standard input does")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read(given.config, os.environ)
        request_log.set_up(enabled=settings.log_requests)
        known = _keys(settings)
        if settings.workers > 1:
            workers.run(settings, partial(_listening, settings), until_eof=given.until_eof)
            return 0
        until_eof = sys.stdin.fileno() if given.until_eof else None
        serve.serve(settings, known, partial(_listening, settings), until_eof=until_eof)
    except (SettingsError, keys.KeysError, workers.WorkerFailed, OSError, ValueError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _listening(settings: Settings, addresses: serve.Addresses) -> None:
    reach = "this machine alone" if is_loopback(settings.host) else "whoever reaches this machine"
    _say(f"HTTP on {addresses.http}, for {reach}; {addresses.http}/docs describes the calls")
    _say(f"gRPC on {addresses.grpc}, babelclip.v1.Embedder, for {reach}")
    _say(f"metrics on {addresses.metrics}")
    _say(f"models {', '.join(settings.models)} at the engine {settings.engine}")
    _say(f"listening: {json.dumps(asdict(addresses))}", "")


def _keys(settings: Settings) -> keys.KeyFile | None:
    """The callers' keys; where there is no file of them yet, one is made, with a key that is shown once."""
    if not settings.authentication:
        _say("no key is asked for: every program on this machine may call")
        return None
    path = Path(settings.keys_file)
    if not path.exists():
        secret = keys.add(path, "first")
        _say(f"made {path} with a key, which is shown this once: {secret}")
    return keys.KeyFile(path)


def _say(line: str, prefix: str = "gateway: ") -> None:
    print(f"{prefix}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
