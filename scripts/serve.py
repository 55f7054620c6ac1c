"""Serves a model: TorchServe, or Ray Serve, which computes, and the gateway before it, which callers meet.

    scripts/serve                                            what model_store/manifest.json names
    scripts/serve hf-hub:google/siglip2-base-patch16-224     a model of the hub, exported first; or a folder
    scripts/serve --engine ray                               on Ray Serve: docs/engines.md
    curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8000/v1/embeddings --json '{"input": ["школа"]}'

The first start makes a key and shows it once. When both towers of every space have proved themselves and the
gateway lets them be called, the last line is `ready: {JSON}`, with

    http, grpc, metrics  the gateway's addresses
    keys_file            the callers' keys; `babelclip keys` changes them
    model                what callers name the model
    store                the model store: `babelclip models --store` takes it
    space, version       its embedding space, and the version it is served under
    engine               what scripts/server.py says of TorchServe, or babelclip.ray_serve of itself
    pid                  the process to stop

Ctrl-C, SIGTERM or the end of the terminal lets the gateway answer what is under way, then ends TorchServe;
exit status 0. When one of the two ends by itself, so does the other, with exit status 1.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
from typing import Any

from babelclip.errors import ManifestError
from babelclip.model_store.manifest import read_manifest
from serving import LaunchError, gateway, ray_engine, sources
from serving.child import Child
from serving.launching import Stopped, exit_status, say, show_any_letter, stop_on_signals
from serving.options import (
    REPOSITORY,
    STORE,
    add_engine_options,
    add_export_options,
    add_gateway_options,
    engine_arguments,
    export_arguments,
)

# Longer than the gateway takes to answer what is under way, and TorchServe's launcher to end all it started.
DRAIN_SECONDS = 90.0
STOP_SECONDS = 90.0


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/serve",
        usage="scripts/serve [SOURCE] [OPTIONS]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="what `python -m export` takes: hf-hub:ORGANISATION/NAME[@REVISION], a folder, a file of "
        "weights; exported unless that was done, into model_store/sources or --store",
    )
    before = parser.add_argument_group("the gateway")
    before.add_argument("--no-gateway", action="store_true", help="TorchServe alone")
    add_gateway_options(before)
    add_export_options(parser.add_argument_group("the export of a SOURCE"))
    add_engine_options(parser.add_argument_group("TorchServe"))
    ray_engine.add_engine_choice(parser.add_argument_group("Ray Serve in place of it"))
    options = parser.parse_args(arguments)
    ray_engine.check_choice(options, parser)
    if options.source is None and (words := export_arguments(options)):
        parser.error(f"{words[0]} says how a SOURCE is exported, and none is given")
    return options


def run(options: argparse.Namespace, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        LaunchError: something could not be started, did not become ready, or ended by itself.
        ChildFailed: so does a process that has said why.
        Stopped: `stop` was set before all was ready.
    """
    if options.source is not None:
        words = export_arguments(options)
        if options.store == STORE:
            options.store = sources.store_of(options.source, words)
        sources.export(options.source, options.store, words, stop)
        if stop.is_set():
            raise Stopped
    on_ray = options.engine == "ray"
    surroundings = ray_engine.environment() if on_ray else dict(os.environ)
    command = [sys.executable, str(REPOSITORY / "scripts" / "server.py"), *engine_arguments(options)]
    if on_ray:
        command = ray_engine.command(options)
    if options.no_gateway:
        os.execve(command[0], command, surroundings)
    try:
        found = read_manifest(options.store).default.name
    except ManifestError as problem:
        raise LaunchError(str(problem)) from problem
    name = options.model_name or sources.model_name(options.source, found)
    unknown = {"grpc": "grpc://127.0.0.1:1", "token_file": ""}
    gateway.check(options.gateway_config, gateway.environment(options, unknown, name, os.environ))
    with contextlib.ExitStack() as running:
        children: list[Child] = []

        def check() -> None:
            if stop.is_set():
                raise Stopped
            for child in children:
                child.check()

        def started(child: Child, seconds: float) -> dict[str, Any]:
            running.callback(child.stop, seconds)
            children.append(child)
            while child.facts is None:
                check()
                stop.wait(0.1)
            return child.facts

        # What was started last is stopped first.
        engine = started(
            Child(
                ray_engine.ENGINES[options.engine],
                [*command, "--until-eof"],
                announces="ready: ",
                say=say,
                environment=surroundings,
            ),
            STOP_SECONDS,
        )
        reached = ray_engine.as_engine(engine) if on_ray else engine
        joining = ray_engine.joining(engine, os.environ) if on_ray else os.environ
        front = started(
            Child(
                "the gateway",
                gateway.command(options),
                announces="listening: ",
                say=say,
                environment=(settings := gateway.environment(options, reached, name, joining)),
            ),
            DRAIN_SECONDS,
        )
        gateway.wait_ready(front["http"], check, options.startup_timeout)
        facts = {
            **front,
            "keys_file": settings[f"{gateway.PREFIX}KEYS_FILE"],
            "model": name,
            "store": str(options.store.resolve()),
            "space": engine["space"],
            "version": engine["version"],
            "engine": engine,
            "pid": os.getpid(),
        }
        say(f"ready: {json.dumps(facts)}")
        while not stop.wait(0.5):
            check()
        say(f"serve: the gateway answers what is under way, then {ray_engine.ENGINES[options.engine]} ends")


def main(arguments: list[str]) -> int:
    """Run both; return the exit status."""
    show_any_letter()
    options = parse_options(arguments)
    stop = stop_on_signals()
    return exit_status("serve", lambda: run(options, stop))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
