"""Start TorchServe with this repository's settings and serve what the manifest of the model store names.

    python scripts/server.py [--store model_store] [--run-dir .run] [--ports auto]

Prints what it does, and when both towers of every space have proved themselves one last line,
`ready: {JSON}`, with

    http, grpc           what babelclip.Client takes as its address
    management, management_grpc, metrics
    queue_metrics        where Prometheus reads how many requests wait; null without --queue-metrics-port
    token_file           the tokens: `inference` for callers, `management` for operators
    space, version       the default embedding space, and the version its towers are registered under
    pid                  the process to stop: Ctrl-C, SIGTERM or the end of its terminal ends the server and
                         all its workers, exit status 0

When TorchServe ends by itself, this prints the last lines of its logs and ends with exit status 1.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path

from babelclip.model_store.manifest import Entry
from serving import LaunchError
from serving.environment import check_paths, forget_proxies
from serving.java import find_java
from serving.launching import Stopped, exit_status, say, show_any_letter, stop_on_signals
from serving.options import REPOSITORY, add_engine_options
from serving.ports import check_ports
from serving.process import RunFolder, TorchServe
from serving.queue_metrics import QueueMetrics
from serving.settings import LISTENERS, Addresses, free_ports, make_settings, read_config
from serving.spaces import read_spaces, serve
from serving.starting import StartingWorkers, WorkerLost
from serving.workers import count_workers

LOG_CONFIG = REPOSITORY / "deploy" / "torchserve" / "log4j2.xml"


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/server.py", description=(__doc__ or "").partition("\n")[0])
    add_engine_options(parser)
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end, too, when the standard input does: with the process that started this one",
    )
    return parser.parse_args(arguments)


def open_queue_metrics(port: int, addresses: Addresses, tokens: Path) -> QueueMetrics:
    """Return the listening exporter.

    Raises:
        LaunchError: nothing can listen on `port`.
    """
    try:
        return QueueMetrics(addresses.management, tokens, port=port)
    except (OSError, OverflowError) as problem:
        raise LaunchError(f"queue metrics cannot listen on 127.0.0.1:{port}: {problem}") from problem


def ready_line(space: Entry, addresses: Addresses, tokens: Path, queue_metrics: str | None) -> str:
    """Return the line that other programs wait for."""
    reached = asdict(addresses)
    facts = {
        "http": reached["inference"],
        "grpc": reached["grpc_inference"],
        "management": reached["management"],
        "management_grpc": reached["grpc_management"],
        "metrics": f"{reached['metrics']}/metrics",
        "queue_metrics": queue_metrics,
        "token_file": str(tokens),
        "space": space.space,
        "version": space.version,
        "pid": os.getpid(),
    }
    return f"ready: {json.dumps(facts)}"


def run(options: argparse.Namespace, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        LaunchError: the server could not be started, did not become ready, or ended by itself.
        Stopped: `stop` was set before the server was ready.
    """
    ports = free_ports() if options.ports == "auto" else {}
    for listener in LISTENERS:
        if (chosen := getattr(options, f"{listener}_port")) is not None:
            ports[listener] = chosen or free_ports()[listener]
    forget_proxies()
    check_paths((REPOSITORY, options.store.resolve(), options.run_dir.resolve(), Path(sys.prefix)))
    spaces = read_spaces(options.store)
    properties = read_config(options.config)
    workers = count_workers(options.workers, options.store, spaces, properties, say=say)
    settings = make_settings(options.config, ports, workers=workers)
    java = find_java()
    folder = RunFolder(options.run_dir)

    with folder.held(), contextlib.ExitStack() as stack:
        check_ports(settings.listeners)
        queue_metrics = None
        if options.queue_metrics_port is not None:
            exporter = open_queue_metrics(options.queue_metrics_port, settings.addresses, folder.tokens)
            stack.callback(exporter.close)
            queue_metrics = exporter.url
        folder.write(settings)
        starting = StartingWorkers(folder.log)
        say(f"serve: starting TorchServe {version_of('torchserve')} on Java {java.version}")
        say(f"serve: logs in {folder.logs}")
        models = [(name, tower.mar) for space in spaces for name, tower in space.towers.items()]
        server = TorchServe(
            folder, store=options.store, models=models, workers=workers, log_config=LOG_CONFIG, java=java
        )

        def check() -> None:
            if stop.is_set():
                raise Stopped
            if not server.running():
                raise LaunchError(f"TorchServe ended by itself\n{folder.last_lines()}")

        def check_start() -> None:
            check()
            starting.check()

        try:
            try:
                serve(
                    spaces,
                    settings.addresses,
                    folder.tokens,
                    check=check_start,
                    seconds=options.startup_timeout,
                )
            except WorkerLost:
                raise
            except LaunchError as problem:
                check()
                raise LaunchError(f"{problem}\n{folder.last_lines()}") from problem
            for space in spaces:
                named = f"{space.space} ({space.name} {space.version})"
                say(f"serve: space {named}: both towers agree with the manifest")
            http, grpc = settings.addresses.inference, settings.addresses.grpc_inference
            say(f"serve: TorchServe at HTTP {http}, gRPC {grpc}")
            say(f"serve: tokens in {folder.tokens}")
            if queue_metrics is not None:
                say(f"serve: queue metrics {queue_metrics}")
            say(ready_line(spaces[0], settings.addresses, folder.tokens, queue_metrics))
            while not stop.wait(0.2):
                check()
            check()
        finally:
            server.stop()


def wait_for_eof(stop: threading.Event) -> None:
    """Set `stop` when the standard input ends."""
    # Not through sys.stdin, whose lock a thread that still waits would keep from the end of this process.
    while os.read(0, 4096):
        pass
    stop.set()


def main(arguments: list[str]) -> int:
    """Run the server; return the exit status."""
    show_any_letter()
    options = parse_options(arguments)
    stop = stop_on_signals()
    if options.until_eof:
        threading.Thread(target=wait_for_eof, args=(stop,), daemon=True).start()
    return exit_status("serve", lambda: run(options, stop))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
