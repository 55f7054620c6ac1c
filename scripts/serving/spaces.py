"""The embedding spaces a server should serve, and how to tell that it does: manifest, workers, proof.

TorchServe's /ping answers 200 while it starts, and even while its workers crash. A space counts as served
here when every worker of both its towers is READY and both towers, over HTTP and over gRPC, have given the
vectors which the manifest says they give for a known text and a known image (its canary).
"""

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from babelclip import BabelclipError, Client
from babelclip import torchserve_pb2 as messages
from babelclip.torchserve import ManagementStub, bearer
from serving import LaunchError
from serving.settings import Addresses

TOWERS = ("text", "vision")
POLL_SECONDS = 0.2
CALL_SECONDS = 60.0
# So many restarts of a model's workers before they were ready are no accident.
LOAD_FAILURES = 2


@dataclass(frozen=True)
class Tower:
    """One archive of the store, and the vector [D] it must give for a known input."""

    mar: str
    sha256: str
    canary: str | bytes  # a text, or an encoded image
    vector: np.ndarray


@dataclass(frozen=True)
class Space:
    """An embedding space: its fingerprint, the version of both its towers, the towers by name."""

    name: str
    space: str
    version: str
    default: bool
    min_cosine: float
    towers: Mapping[str, Tower]


def read_manifest(store: Path) -> list[Space]:
    """Return the spaces of `store`/manifest.json, the default one first, their archives checked against it.

    Raises:
        LaunchError: no manifest, one of another form, or an archive that is missing or not the one it names.
    """
    path = store / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != 1:
            raise LaunchError(f"{path} has format {manifest['format']}; this version reads format 1")
        spaces = [_read_space(entry) for entry in manifest["spaces"]]
    except FileNotFoundError:
        raise LaunchError(
            f"there is no {path}; build the archives: "
            f"python -m export training/checkpoints/mini --store {store}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise LaunchError(f"{path} is no manifest: {type(problem).__name__}: {problem}") from problem
    if len([space for space in spaces if space.default]) != 1:
        raise LaunchError(f"{path} must name exactly one space as the default")
    for space in spaces:
        for tower in space.towers.values():
            _check_digest(store / tower.mar, tower.sha256)
    return sorted(spaces, key=lambda space: not space.default)


def _read_space(entry: Mapping[str, Any]) -> Space:
    canary = entry["canary"]
    towers = {}
    for tower in TOWERS:
        known = canary[tower]["input"]
        towers[tower] = Tower(
            mar=entry[tower]["mar"],
            sha256=entry[tower]["sha256"],
            canary=known if tower == "text" else base64.b64decode(known, validate=True),
            vector=np.frombuffer(base64.b64decode(canary[tower]["vector"], validate=True), dtype="<f4"),
        )
    return Space(
        name=entry["name"],
        space=entry["space"],
        version=entry["version"],
        default=entry["default"],
        min_cosine=float(canary["min_cosine"]),
        towers=towers,
    )


def _check_digest(archive: Path, expected: str) -> None:
    try:
        with archive.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as problem:
        raise LaunchError(
            f"the manifest names {archive}, which cannot be read: {problem.strerror}"
        ) from problem
    if found != expected:
        raise LaunchError(
            f"{archive} is not the archive of the manifest (SHA-256 {found}, not {expected}); export again"
        )


class Management:
    """TorchServe's management calls over gRPC, which unlike those over HTTP never hold up inference."""

    def __init__(self, address: str, token: str | None) -> None:
        """`address` is grpc://HOST:PORT, `token` the management key."""
        self._channel = grpc.insecure_channel(address.removeprefix("grpc://"))
        self._connected = grpc.channel_ready_future(self._channel)
        self._stub = ManagementStub(self._channel)
        self._pids: dict[tuple[str, str], set[int]] = {}
        self._options: dict[str, Any] = {"metadata": bearer(token), "timeout": CALL_SECONDS}

    def close(self) -> None:
        """Close the connection."""
        self._connected.cancel()
        self._channel.close()

    def reachable(self) -> bool:
        """Whether there is a connection to the server yet."""
        return self._connected.done()

    def ready(self, space: Space) -> bool:
        """Whether every worker of both towers is READY.

        Raises:
            LaunchError: the call failed, or a worker has ended again and again while it loaded its model.
        """
        for model in space.towers:
            request = messages.DescribeModelRequest(model_name=model, model_version=space.version)
            with _refusals(f"describing {model} {space.version}"):
                described = json.loads(self._stub.DescribeModel(request, **self._options).msg)[0]
            # TorchServe starts a failed worker again for minutes; another process id tells that it did.
            pids = self._pids.setdefault((model, space.version), set())
            pids |= {worker["pid"] for worker in described["workers"] if worker["pid"] > 0}
            if len(pids) >= described["minWorkers"] + LOAD_FAILURES:
                raise LaunchError(f"{model} {space.version} cannot be loaded; the log below says why")
            states = [worker["status"] for worker in described["workers"]]
            if len(states) < described["minWorkers"] or any(state != "READY" for state in states):
                return False
        return True

    def make_default(self, space: Space) -> None:
        """Send requests that name no version to this space, for both towers."""
        for model in space.towers:
            request = messages.SetDefaultRequest(model_name=model, model_version=space.version)
            with _refusals(f"making {model} {space.version} the default"):
                self._stub.SetDefault(request, **self._options)


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as problem:
        raise LaunchError(f"{what} failed: {problem.code().name}: {problem.details()}") from problem


def serve(
    spaces: list[Space], addresses: Addresses, tokens: Path, *, check: Callable[[], None], seconds: float
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

    wait_for(lambda: _management_key(tokens) is not None, "TorchServe wrote no tokens")
    management = Management(addresses.grpc_management, _management_key(tokens))
    try:
        # The server opens its gRPC ports last.
        wait_for(management.reachable, f"{addresses.grpc_management} does not answer")
        for space in spaces:
            wait_for(partial(management.ready, space), f"the workers of {space.name} are not ready")
            _prove(space, addresses, tokens)
        management.make_default(spaces[0])
    finally:
        management.close()


def _management_key(tokens: Path) -> str | None:
    """Return the key; None while the server has not finished writing the file."""
    try:
        return str(json.loads(tokens.read_bytes())["management"]["key"])
    except (OSError, ValueError, KeyError):
        return None


def _prove(space: Space, addresses: Addresses, tokens: Path) -> None:
    """Embed the canary with both towers, over HTTP and gRPC, and compare with the vectors of the manifest."""
    for url in (addresses.inference, addresses.grpc_inference):
        with Client(url, token_file=tokens, version=space.version, space=space.space) as client:
            for model, tower in space.towers.items():
                try:
                    if isinstance(tower.canary, str):
                        answer = client.embed_texts([tower.canary])
                    else:
                        answer = client.embed_images([tower.canary])
                except BabelclipError as problem:
                    raise LaunchError(
                        f"{space.name}: the {model} tower at {url} failed: {problem}"
                    ) from problem
                vector = answer.vectors[0]
                lengths = float(np.linalg.norm(vector) * np.linalg.norm(tower.vector))
                cosine = float(vector @ tower.vector) / lengths if lengths else 0.0
                if not cosine >= space.min_cosine:
                    raise LaunchError(
                        f"{space.name}: the {model} tower at {url} gives another vector than when it was "
                        f"exported: cosine {cosine:.4f}, at least {space.min_cosine} is needed"
                    )
