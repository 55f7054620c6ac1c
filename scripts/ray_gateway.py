"""Joins a Ray cluster as a node without towers, and serves the gateway there; others deploy the towers.

    KUBERAY_GEN_RAY_START_CMD='ray start --address=10.0.0.7:6379 --num-cpus=0 --block' \\
        python scripts/ray_gateway.py --store /models

For the pods of a RayService that callers meet (docs/kubernetes.md): KubeRay puts the command of a node into
the environment. Who calls towers needs a node beside it, which Ray looks for among the processes that it
sees, so that both run in one container. The store names the model; its archives are not read here.

SIGTERM lets the gateway answer what is under way, for which it needs the node, and ends the node then; exit
status 0. When one of the two ends by itself, so does the other, with exit status 1.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from babelclip.errors import ManifestError
from babelclip.model_store.manifest import read_manifest
from serving import LaunchError, gateway, ray_engine, sources
from serving.child import Child
from serving.launching import Stopped, exit_status, say, show_any_letter, stop_on_signals
from serving.options import REPOSITORY, STORE, add_gateway_options

START = "KUBERAY_GEN_RAY_START_CMD"
# The cluster that the node has joined: RAY_ADDRESS names its head.
ENGINE = {"grpc": "ray:auto", "token_file": ""}
# What `ray start` says of a node that is up. The gateway waits for it, because Ray gives up one that is slow
# to start, and goes on without it after these seconds, because Ray may come to say it otherwise.
STARTED, START_SECONDS = "Ray runtime started", 120.0
# Longer than the gateway takes to answer what is under way.
DRAIN_SECONDS = 90.0
# Longer than Ray gives a node to drain.
STOP_SECONDS = 45.0


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/ray_gateway.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", type=Path, default=STORE, help="archives and manifest.json")
    parser.add_argument("--run-dir", type=Path, default=REPOSITORY / ".run", help="where keys are made")
    parser.add_argument(
        "--ports", choices=("default", "auto"), default="default", help="auto: free ones (default: default)"
    )
    add_gateway_options(parser)
    return parser.parse_args(arguments)


def node_command(given: Mapping[str, str]) -> list[str]:
    """The words that start the node, from the environment.

    Raises:
        LaunchError: it names no command.
    """
    if not given.get(START):
        raise LaunchError(f"{START} must be the command that starts a node: ray start --address=… --block")
    # A line for a shell, with quotes and variables. Each caller, replica and log is a file to Ray.
    return ["bash", "-c", f"ulimit -n 65536; exec {given[START]}"]


def gateway_environment(options: argparse.Namespace, given: Mapping[str, str]) -> dict[str, str]:
    """What the gateway finds in its environment.

    Raises:
        LaunchError: the store is none, or a setting is wrong.
    """
    try:
        found = read_manifest(options.store).default.name
    except ManifestError as problem:
        raise LaunchError(str(problem)) from problem
    name = options.model_name or sources.model_name(None, found)
    made = gateway.environment(options, ENGINE, name, given)
    gateway.check(options.gateway_config, made)
    return made


def listening_for(is_up: threading.Event) -> Callable[[str], None]:
    """Passes the node's lines on, and sets `is_up` by the one that says so."""

    def heard(line: str) -> None:
        if STARTED in line:
            is_up.set()
        say(line)

    return heard


def run(options: argparse.Namespace, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        LaunchError: something cannot be started, or has ended by itself.
        Stopped: `stop` was set before the gateway listened.
    """
    command = node_command(os.environ)
    settings = gateway_environment(options, os.environ)
    with contextlib.ExitStack() as running:
        # What was started last is stopped first.
        is_up = threading.Event()
        node = Child("the node", command, say=listening_for(is_up), environment=ray_engine.environment())
        running.callback(node.stop, STOP_SECONDS)
        give_up = time.monotonic() + START_SECONDS
        while not is_up.wait(0.1) and time.monotonic() < give_up:
            node.check()
            if stop.is_set():
                raise Stopped
        front = Child(
            "the gateway",
            gateway.command(options),
            announces="listening: ",
            say=say,
            environment=settings,
        )
        running.callback(front.stop, DRAIN_SECONDS)
        told = False
        while not stop.wait(0.2):
            node.check()
            front.check()
            if not told and front.facts is not None:
                say(f"listening: {json.dumps({**front.facts, 'pid': os.getpid()})}")
                told = True
        if not told:
            raise Stopped
        say("ray_gateway: the gateway answers what is under way, then the node ends")


def main(arguments: list[str]) -> int:
    """Run both; return the exit status."""
    show_any_letter()
    options = parse_options(arguments)
    stop = stop_on_signals()
    return exit_status("ray_gateway", lambda: run(options, stop))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
