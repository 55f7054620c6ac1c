"""Serves what a model store's manifest names on Ray Serve, until Ctrl-C, SIGTERM or the end of its input.

    python -m babelclip.ray_serve --store model_store                  on a cluster of this machine alone
    python -m babelclip.ray_serve --store /mnt/store --address 10.0.0.7:6379        on one that is there
    python -m babelclip.ray_serve --store /mnt/store --address 10.0.0.7:6379 --once
    python -m babelclip.ray_serve --address 10.0.0.7:6379 --remove 1.0

With `--once` it ends when all is deployed, and leaves it there; with `--remove` it only removes a version.
Else, when both towers of every version have proved themselves, the last line is `ready: {JSON}`, with

    engine          what babelclip.AsyncClient and the gateway take as its address
    token_file      the token of the cluster, for RAY_AUTH_TOKEN_PATH; null with --address
    metrics         where Prometheus reads the metrics of the cluster's node; null with --address
    space, version  the default embedding space, and its version
    pid             the process to stop
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from babelclip.errors import BabelclipError
from babelclip.ray_serve.applications import delete, deploy, remove, served_entries, start_serve
from babelclip.ray_serve.cluster import Cluster, local_cluster
from babelclip.ray_serve.resources import Resources
from babelclip.transports.ray import NAME, SCHEME
from babelclip.transports.ray_handles import import_ray, join


class Stopped(Exception):
    """The process is to end."""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m babelclip.ray_serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--store", type=Path, default=Path("model_store"), help="archives and manifest.json")
    parser.add_argument("--run-dir", type=Path, default=Path(".run"), help="where the token is written")
    parser.add_argument("--until-eof", action="store_true", help="end, too, when the standard input does")
    parser.add_argument("--once", action="store_true", help="deploy into the cluster of --address, and end")
    parser.add_argument(
        "--remove", metavar="VERSION", help="remove a version from the cluster of --address, and end"
    )
    add_ray_options(parser)
    options = parser.parse_args(arguments)
    if (options.once or options.remove) and options.address is None:
        parser.error("--once and --remove change a cluster that is there: say which by --address")
    return options


def add_ray_options(parser: argparse._ActionsContainer) -> None:
    """What is deployed, where."""
    default = Resources()
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="the head of a cluster that is there, or auto (default: a new one on this machine)",
    )
    parser.add_argument(
        "--application",
        default=NAME,
        metavar="NAME",
        help=f"the applications are NAME-VERSION (default: {NAME})",
    )
    parser.add_argument("--replicas", type=int, default=default.replicas, help="of each tower (default: 1)")
    parser.add_argument(
        "--max-replicas", type=int, default=0, metavar="COUNT", help="under load (default: no more)"
    )
    parser.add_argument(
        "--replica-cpus",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="cores of a replica, as Ray counts them",
    )
    parser.add_argument(
        "--replica-gpus", type=float, default=0.0, metavar="SHARE", help="GPUs of a replica, such as 0.5"
    )
    parser.add_argument(
        "--replica-hpus", type=float, default=0.0, metavar="COUNT", help="Gaudi cards of a replica"
    )


def ray_arguments(options: argparse.Namespace) -> list[str]:
    """The words that say what `add_ray_options` has read."""
    words = ["--application", options.application, "--replicas", str(options.replicas)]
    words += ["--max-replicas", str(options.max_replicas), "--replica-cpus", str(options.replica_cpus)]
    words += ["--replica-gpus", str(options.replica_gpus), "--replica-hpus", str(options.replica_hpus)]
    return words if options.address is None else [*words, "--address", options.address]


def resources_of(options: argparse.Namespace) -> Resources:
    """What the options say.

    Raises:
        ValueError: they contradict each other.
    """
    return Resources(
        replicas=options.replicas,
        max_replicas=options.max_replicas,
        cpus=options.replica_cpus,
        gpus=options.replica_gpus,
        hpus=options.replica_hpus,
    )


def run(options: argparse.Namespace) -> None:
    """Serve until `Stopped` is raised.

    Raises:
        BabelclipError: the store cannot be served, or the cluster is not there or did not take it.
        ValueError: options contradict each other.
        ImportError: a package is missing.
    """
    resources = resources_of(options)
    store = options.store.resolve()
    entries = [] if options.remove else served_entries(store)
    run_dir = options.run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    # Ray puts a driver's folder on the path of its workers, and an archive runs with the code it brought.
    os.chdir(run_dir)
    with contextlib.ExitStack() as stack:
        cluster: Cluster | None = None
        if options.address is None:
            cluster = stack.enter_context(local_cluster(run_dir))
            say(f"a cluster of this machine at {cluster.address}; its logs in {cluster.logs}")
        else:
            join(options.address)
            stack.callback(import_ray().shutdown)
        stop_on_signals()  # Ray has set a handler of its own.
        if options.remove:
            remove(options.application, options.remove)
            say(f"removed {options.remove}")
            return
        start_serve()
        made = deploy(store, entries, options.application, resources, say)
        if options.once:
            say(f"deployed: {', '.join(made) or 'nothing that was not there'}")
            return
        stack.callback(import_ray("ray.serve").shutdown if cluster is not None else lambda: delete(made))
        facts = {
            "engine": f"{SCHEME}{cluster.address if cluster else options.address}#{options.application}",
            "token_file": str(cluster.token) if cluster else None,
            "metrics": cluster.metrics if cluster else None,
            "space": entries[0].space,
            "version": entries[0].version,
            "pid": os.getpid(),
        }
        print(f"ready: {json.dumps(facts)}", flush=True)
        signal.pause()


def stop_on_signals() -> None:
    """Raise `Stopped` in the main thread for SIGTERM and SIGINT, once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def stop_at_eof() -> None:
    """End this process in order when its standard input ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def say(line: str) -> None:
    """Tell people."""
    print(f"ray_serve: {line}", flush=True)


def main(arguments: list[str]) -> int:
    """The command; its exit status."""
    options = parse_options(arguments)
    stop_on_signals()
    if options.until_eof:
        threading.Thread(target=stop_at_eof, daemon=True).start()
    try:
        run(options)
    except Stopped:
        say("stopped")
    except (BabelclipError, ImportError, ValueError, OSError) as problem:
        print(f"ray_serve: {problem}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
