"""Bulk embedding, from a folder to a billion; docs/bulk.md tells all of it.

    python -m batch embed INPUT... OUTPUT [--url mar:model_store] [--engine ray]
    python -m batch status OUTPUT
    python -m batch export OUTPUT --npy FOLDER
    python -m batch load OUTPUT --index ADDRESS

Ends with status 0 when all is done, 1 when shards were set aside, 3 when it could not go on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

from rich.console import Console

from babelclip.cli.console import FAILED, INCOMPLETE, INTERRUPTED, printable
from babelclip.errors import BabelclipError
from babelclip.wire import Tower
from batch import estimate, jobs, loading, npy
from batch.driver import ATTEMPTS, reasons
from batch.engines.base import EngineError, Workers
from batch.engines.local import LocalWorkers
from batch.inputs.reading import READERS
from batch.job import BATCH, DTYPES, MODALITIES, SHARD_SIZE, Job, JobError
from batch.model import Model, model_of
from batch.progress import STATUS, Metrics, Progress
from batch.shards import ShardError
from batch.storage.base import Storage
from batch.storage.opening import open_storage
from batch.worker import Task

# What a user can mend is said in one line; anything else is a bug, and keeps its stack trace.
KNOWN_ERRORS = (BabelclipError, EngineError, JobError, ShardError, OSError, ValueError, ImportError)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    embed = commands.add_parser("embed", help="begin a job, or go on with it")
    embed.add_argument("input", nargs="+", help="folders, .tar, .parquet, .csv, .tsv; .txt of texts; s3://…")
    embed.add_argument("output", help="a folder, or s3://…; all workers must see it under this name")
    embed.add_argument("--url", default="mar:model_store", help="mar:FOLDER[#NAME], or a server's address")
    embed.add_argument("--token-file", help="with the token of the server")
    embed.add_argument("--modality", choices=MODALITIES, default="image")
    embed.add_argument("--column", default="", help="of tables: the images or texts")
    embed.add_argument("--caption-column", default="", help="of tables: the captions")
    embed.add_argument("--dtype", choices=DTYPES, default="float32", help="of the vectors")
    embed.add_argument(
        "--shard-size", type=int, default=SHARD_SIZE, help="items of a run of a folder or table"
    )
    embed.add_argument("--batch", type=int, default=BATCH, help="items that are embedded together")
    embed.add_argument("--threads", type=int, default=1, help="of a worker's passes on the CPU")
    embed.add_argument("--readers", type=int, default=READERS, help="threads of a worker that read images")
    embed.add_argument("--attempts", type=int, default=ATTEMPTS, help="before a shard is set aside")
    embed.add_argument(
        "--allow-host", action="append", default=[], help="of the Web; may be given several times"
    )
    embed.add_argument(
        "--metrics-port", type=int, help="of Prometheus' metrics, on loopback; 0 takes a free one"
    )
    embed.add_argument("--engine", choices=("local", "ray"), default="local")
    embed.add_argument(
        "--processes", type=int, help="local: how many; default: one for each core and --threads"
    )
    embed.add_argument("--address", help="ray: of the cluster; default: one on this machine, for the job")
    embed.add_argument(
        "--num-actors", type=int, help="ray: how many; default: as many as the cluster has room for"
    )
    embed.add_argument("--cpus-per-actor", type=float, help="ray: default: as many as --threads")
    embed.add_argument("--gpus-per-actor", type=float, default=0.0, help="ray: 0.5 puts two on a card")
    embed.add_argument(
        "--resources", type=json.loads, default={}, help="ray: of an actor, such as '{\"HPU\": 1}'"
    )
    embed.add_argument(
        "--dry-run", action="store_true", help="embed a sample, and say what the rest would take"
    )
    embed.add_argument("--sample", type=int, default=estimate.SAMPLE, help="items of a dry run")
    embed.add_argument("--price-per-hour", type=float, help="of a machine, for the dry run")
    embed.add_argument("--machines", type=int, default=1, help="for the dry run")
    status = commands.add_parser("status", help="how far a job is, by its status file and its outputs")
    status.add_argument("output")
    export = commands.add_parser("export", help="vectors as .npy, with ids beside them")
    export.add_argument("output")
    export.add_argument("--npy", required=True, metavar="FOLDER", help="or s3://…")
    load = commands.add_parser("load", help="rows into an index; again, and nothing is there twice")
    load.add_argument("output")
    load.add_argument("--index", required=True, metavar="ADDRESS", help="a folder, s3://…, milvus://…")
    load.add_argument("--collection", default="", help="of the rows; default: the path or address of OUTPUT")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    given = parser().parse_args(words)
    try:
        if given.command == "embed":
            return _embed(given)
        if given.command == "status":
            return _status(open_storage(given.output))
        if given.command == "export":
            rows = npy.export(open_storage(given.output), open_storage(given.npy))
            print(f"batch: {rows:,} vectors in {given.npy}")
        else:
            loaded = loading.load(open_storage(given.output), given.index, given.collection)
            print(f"batch: {loaded:,} rows in {given.index}")
    except KeyboardInterrupt:
        print("batch: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except KNOWN_ERRORS as error:
        print(f"batch: {printable(str(error))}", file=sys.stderr)
        return FAILED
    return 0


def _embed(given: argparse.Namespace) -> int:
    model = model_of(given.url, given.token_file)
    tower: Tower = "text" if given.modality == "text" else "vision"
    job = Job(
        modality=given.modality,
        inputs=tuple(given.input),
        identity=model.identity(tower),
        dtype=given.dtype,
        batch=given.batch,
        threads=given.threads,
        column=given.column,
        caption_column=given.caption_column,
        shard_size=given.shard_size,
    )
    if given.dry_run:
        return _dry_run(given, job, model)
    storage = open_storage(given.output)
    console = Console(stderr=True)
    metrics = None if given.metrics_port is None else Metrics(given.metrics_port)
    progress = Progress(storage, metrics, console)
    if metrics is not None:
        print(f"batch: metrics on {metrics.address}", flush=True)
    try:
        with progress.shown():
            outcome = jobs.embed(
                job,
                storage,
                model,
                lambda task: _workers(given, task),
                hosts=given.allow_host,
                readers=given.readers,
                attempts=given.attempts,
                progress=progress,
            )
    finally:
        if metrics is not None:
            metrics.close()
    for reason, count in reasons(list(outcome.failed)).most_common(5):
        print(f"batch: {count} shards were set aside: {printable(reason)}", file=sys.stderr)
    shown = asdict(outcome) | {"failed": len(outcome.failed)}
    print("result: " + json.dumps(shown))
    return INCOMPLETE if outcome.failed else 0


def _workers(given: argparse.Namespace, task: Task) -> Workers:
    if given.engine == "local":
        return LocalWorkers(task, given.processes or estimate.processes(task.job.threads))
    from batch.engines.ray import RayWorkers

    return RayWorkers(
        task,
        address=given.address,
        actors=given.num_actors,
        cpus=given.cpus_per_actor,
        gpus=given.gpus_per_actor,
        resources=given.resources,
    )


def _dry_run(given: argparse.Namespace, job: Job, model: Model) -> int:
    workers = given.num_actors if given.engine == "ray" else given.processes
    found = estimate.estimate(
        job,
        model,
        sample=given.sample,
        workers=workers or estimate.processes(job.threads),
        machines=given.machines,
        price_per_hour=given.price_per_hour,
        hosts=given.allow_host,
        readers=given.readers,
    )
    for line in found.lines():
        print(f"batch: {line}")
    print("result: " + json.dumps(found.as_json()))
    return 0


def _status(storage: Storage) -> int:
    found = jobs.totals(storage)
    with suppress(FileNotFoundError), storage.reading(STATUS) as file:
        run = json.loads(file.read())
        found["run"] = {name: run[name] for name in ("state", "items_per_s", "seconds_left", "updated")}
    print(json.dumps(found, indent=2))
    return INCOMPLETE if found["failed"] else 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
