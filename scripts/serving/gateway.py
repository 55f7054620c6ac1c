"""The gateway before a TorchServe that is ready: how it is started, and when it is ready itself."""

import argparse
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.settings import SettingsError, read
from serving import LaunchError
from serving.options import REPOSITORY
from serving.ports import check_ports

PREFIX = "BABELCLIP_GATEWAY_"
# What a client sends to an engine where its settings name no token.
TOKENS = ("BABELCLIP_TOKEN", "BABELCLIP_TOKEN_FILE")
POLL_SECONDS = 0.1


def command(options: argparse.Namespace) -> list[str]:
    """The words that start it."""
    config = [] if options.gateway_config is None else ["--config", str(options.gateway_config)]
    # -P: the current folder may hold anything, and its modules are not to come first.
    return [sys.executable, "-P", "-m", "gateway", *config, "--until-eof"]


def environment(
    options: argparse.Namespace, engine: Mapping[str, Any], name: str, given: Mapping[str, str]
) -> dict[str, str]:
    """What the gateway finds in its environment, which wins over its configuration.

    The engine is the one that was started, its model is called `name` where the configuration names none,
    and the keys lie in the folder of the run unless they are said to lie elsewhere.

    Raises:
        LaunchError: the configuration cannot be read.
    """
    configured = _configured(options.gateway_config)
    keys_file = configured.get("keys_file", options.run_dir.resolve() / "gateway" / "keys.json")
    settings = {
        "engine": engine["grpc"],
        "engine_token_file": engine["token_file"],
        "keys_file": given.get(f"{PREFIX}KEYS_FILE", str(keys_file)),
    }
    for entry, fact in (("engine_metrics", "metrics"), ("queue_metrics", "queue_metrics")):
        if address := engine.get(fact):
            settings[entry] = address
    if options.model_name is not None or "models" not in configured:
        settings["models"] = name
    for listener in ("port", "grpc_port", "metrics_port"):
        chosen = getattr(options, f"gateway_{listener}")
        if chosen is None and options.ports == "auto":
            chosen = 0
        if chosen is not None:
            settings[listener] = str(chosen)
    if options.gateway_host is not None:
        settings["host"] = options.gateway_host
    if options.gateway_workers is not None:
        settings["workers"] = str(options.gateway_workers)
    named = {f"{PREFIX}{entry.upper()}": value for entry, value in settings.items()}
    # An image names the file of TorchServe's, which another engine never writes.
    passed = {name: value for name, value in given.items() if engine["token_file"] or name not in TOKENS}
    return {**passed, **named, "PYTHONPATH": str(REPOSITORY)}


def check(path: Path | None, environment: Mapping[str, str]) -> None:
    """Make sure that the gateway could be started; it is, once TorchServe is ready.

    Raises:
        LaunchError: a setting is wrong, or a port is taken.
    """
    try:
        found = read(path, environment)
    except SettingsError as problem:
        raise LaunchError(f"the gateway: {problem}") from problem
    listeners = {
        "the gateway's HTTP": (found.host, found.port),
        "the gateway's gRPC": (found.host, found.grpc_port),
        "the gateway's metrics": (found.metrics_host, found.metrics_port),
    }
    check_ports({listener: (host, port) for listener, (host, port) in listeners.items() if port})


def wait_ready(address: str, check: Callable[[], None], seconds: float) -> None:
    """Wait until the gateway says that both towers embed.

    `check` is called all along and raises what should end the wait.

    Raises:
        LaunchError: it did not say so in time.
    """
    give_up = time.monotonic() + seconds
    said = "nothing"
    # Its certificate names the host that callers use; nothing is told here and nothing believed but "ready".
    with httpx.Client(trust_env=False, verify=False, timeout=10.0) as client:
        while time.monotonic() < give_up:
            check()
            try:
                answer = client.get(f"{address}/readyz")
            except httpx.HTTPError as error:
                said = str(error)
            else:
                if answer.status_code == 200:
                    return
                said = answer.text
            time.sleep(POLL_SECONDS)
    raise LaunchError(f"the gateway is not ready after {seconds:.0f} seconds; it says {said}")


def _configured(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise LaunchError(f"cannot read {path}: {problem.strerror}") from problem
    except ValueError as problem:
        raise LaunchError(f"{path} is no TOML: {problem}") from problem
