"""Send a server thousands of broken requests and see that it keeps its promises.

    python -m tests.fuzz --bodies 50000 [--seed N] [--first INDEX] [--store DIR | --server READY]

Starts a server of its own on free ports, unless it is given the JSON of a running one's `ready:` line. It
fails, with exit status 1, when a worker dies, an answer is none of docs/errors.md, is `internal`, or tells of
the server's files, a request stays without an answer for 60 seconds, or a tower does not give its canary's
vector afterwards. What failed is named by its seed and index and written to a file of --failures. To send one
body again: the same seed, `--first INDEX --bodies 1`.

The last line is `result: {JSON}` with bodies, per_second, worker_restarts, undocumented, internal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.support import Server, launched
from tests.fuzz.run import fuzz
from tests.places import REPOSITORY


@contextlib.contextmanager
def serving(store: Path, ready: str | None) -> Iterator[Server]:
    """The server to send to."""
    if ready is not None:
        facts = json.loads(ready.removeprefix("ready: "))
        yield Server(**{**facts, "token_file": Path(facts["token_file"])})
        return
    with (
        tempfile.TemporaryDirectory() as run,
        launched("--store", store, "--run-dir", run, "--ports", "auto") as launcher,
    ):
        yield launcher.wait_ready()


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--bodies", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the index to begin with")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--store", type=Path, default=REPOSITORY / "model_store", help="serve these archives")
    where.add_argument("--server", metavar="READY", help="the JSON of a running server's ready line")
    parser.add_argument("--failures", type=Path, default=REPOSITORY / ".run" / "fuzz", metavar="DIR")
    options = parser.parse_args(arguments)
    with serving(options.store, options.server) as server:
        report = fuzz(
            server, bodies=options.bodies, seed=options.seed, first=options.first, folder=options.failures
        )
    for (kind, counted), count in sorted(report.counts.items()):
        print(f"{count:8}  {kind}: {counted}")
    print(f"result: {json.dumps(report.result())}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
