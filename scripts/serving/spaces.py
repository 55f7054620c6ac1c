"""Bringing up the embedding spaces that a store's manifest names: workers, proof, default.

`babelclip.versions.readiness` says what counts as served. `babelclip.versions.registry` changes what a
running server has; here one is started.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from babelclip.errors import BabelclipError, ManifestError
from babelclip.model_store.archives import archives, check_archive
from babelclip.model_store.manifest import Entry, read_manifest
from babelclip.versions.management import Management
from babelclip.versions.readiness import prove, readiness_check
from babelclip.wire import TOWERS
from serving import LaunchError
from serving.settings import Addresses

POLL_SECONDS = 0.2


def read_spaces(store: Path) -> list[Entry]:
    """The spaces of the store's manifest, the default one first, their archives checked against it.

    One whose addition to a running server was broken off is left out: it may never have loaded there.

    Raises:
        LaunchError: no manifest, one of another form, or an archive that is missing, is not the one it names,
            or has a name that TorchServe cannot read.
    """
    try:
        manifest = read_manifest(store)
        spaces = [manifest.default]
        spaces += [entry for entry in manifest.entries if not entry.default and not entry.unproved]
        for space in spaces:
            for archive in archives(store, space).values():
                check_archive(archive)
                if "," in archive.path.name:
                    raise LaunchError(f"{archive.path} cannot be served: TorchServe ends a name at a comma")
    except ManifestError as problem:
        raise LaunchError(str(problem)) from problem
    return spaces


def serve(
    spaces: list[Entry], addresses: Addresses, tokens: Path, *, check: Callable[[], None], seconds: float
) -> None:
    """Wait until the workers of `spaces` are ready, prove each space, and make the first the default.

    `check` is called all along and raises what should end the wait: a stop, or a server that has died.

    Raises:
        LaunchError: a call was refused, `seconds` have passed, or a tower gave another vector than it must.
    """
    give_up = time.monotonic() + seconds

    def wait_for(done: Callable[[], bool], what: str) -> None:
        while not done():
            check()
            if time.monotonic() > give_up:
                raise LaunchError(
                    f"{what} after {seconds:.0f} seconds; a larger --startup-timeout waits longer"
                )
            time.sleep(POLL_SECONDS)

    wait_for(lambda: _written(tokens), "TorchServe wrote no tokens")
    try:
        with Management(addresses.grpc_management, tokens) as management:
            # The server opens its gRPC ports last.
            wait_for(management.reachable, f"{addresses.grpc_management} does not answer")
            for space in spaces:
                wait_for(
                    readiness_check(management, space.version), f"the workers of {space.name} are not ready"
                )
                prove(space, (addresses.inference, addresses.grpc_inference), tokens)
            for tower in TOWERS:
                management.set_default(tower, spaces[0].version)
    except BabelclipError as problem:
        raise LaunchError(str(problem)) from problem


def _written(tokens: Path) -> bool:
    """Whether the server has finished writing the file."""
    try:
        return "management" in json.loads(tokens.read_bytes())
    except (OSError, ValueError):
        return False
