"""Starts the gateway: python -m gateway [--config gateway.toml]; BABELCLIP_GATEWAY_… variables win."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gateway import keys, serve
from gateway.settings import Settings, SettingsError, is_loopback, read


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="The front door of babelclip.")
    parser.add_argument("--config", type=Path, help="a TOML file; docs/gateway.md lists its entries")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = read(given.config, os.environ)
        known = _keys(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, known))
    except (SettingsError, keys.KeysError, OSError, ValueError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, known: keys.KeyFile | None) -> None:
    stop = serve.stop_on_signals(asyncio.get_running_loop())
    models = serve.engine_models(settings)

    def listening(addresses: serve.Addresses) -> None:
        reach = "this machine alone" if is_loopback(settings.host) else "whoever reaches this machine"
        _say(f"HTTP on {addresses.http}, for {reach}; {addresses.http}/docs describes the calls")
        _say(f"gRPC on {addresses.grpc}, babelclip.v1.Embedder, for {reach}")
        _say(f"metrics on {addresses.metrics}")
        _say(f"models {', '.join(settings.models)} at the engine {settings.engine}")
        _say(f"listening: {json.dumps(asdict(addresses))}", "")

    await serve.run(settings, models, None if known is None else known.find, listening, stop)


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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # There is none for Windows.
        return None
    return uvloop.new_event_loop


def _say(line: str, prefix: str = "gateway: ") -> None:
    print(f"{prefix}{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
