"""A model in the caller's own process: the archives of a model store, without TorchServe.

    from babelclip import Client

    with Client("mar:model_store") as client:  # or mar:model_store#NAME
        client.embed_texts(["ein roter Apfel", "赤いりんご"])

The archives' own handlers compute, so a vector is the one that TorchServe would serve. They need the packages
of the extra `inprocess`. Opening a store runs the code in its archives: open only what you trust.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

from babelclip.errors import DeadlineExceeded, ModelNotFound, TransportError
from babelclip.model_store.archives import Archive, read_pair, unpack
from babelclip.transports.archived_code import import_needed, make_handler
from babelclip.transports.base import Call
from babelclip.wire import Tower

# TorchServe kills a worker that takes longer than responseTimeout, so its handlers leave the items that they
# do not reach in time. Nobody kills this process: a day is more than any message takes.
_RESPONSE_TIMEOUT = 86_400


class InProcessTransport:
    """Computes calls instead of sending them. Its models are `text` and `vision`; each takes one at a time.

    A tower is loaded by its first call, which takes seconds and unpacks it into a temporary folder. It runs
    on the CPU, unless the variable BABELCLIP_DEVICE is cuda or hpu. A call's timeout is how long it waits for
    others of its tower; its own items are embedded as far as the `timeout_ms` in its body goes.

    A forked child loads the towers itself, with the first call. Where the parent has used torch, it computes
    with one thread, because torch's others are not there; started by spawn, it has them all.

    Args:
        store: the folder that `python -m export` wrote, with its manifest.json.
        name: the entry of the manifest; None for the default one.
        threads: of a pass on the CPU; None for what the archive says, all cores unless told otherwise.

    Raises:
        ManifestError: the folder is no model store, or has no such entry; it is a ValueError.
    """

    def __init__(
        self, store: str | os.PathLike[str], name: str | None = None, *, threads: int | None = None
    ) -> None:
        self._store = os.fspath(store)
        self._pair = read_pair(Path(store), name)
        self._towers = {
            str(tower): _Tower(tower, archive, self._pair.version, threads)
            for tower, archive in self._pair.archives.items()
        }

    def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`.

        Raises:
            ModelNotFound: the store has no model of that name, or not in that version.
            DeadlineExceeded: other calls occupied the tower for all of the timeout.
            TransportError: the tower cannot be loaded, or its device is lost.
            ImportError: a package of the extra `inprocess` is missing.
        """
        if call.model not in self._towers:
            raise ModelNotFound(
                f"{self._store} has no model {call.model!r}; it has {' and '.join(self._towers)}"
            )
        version = self._pair.version
        if call.version not in (None, version):
            raise ModelNotFound(
                f"{self._store} has no version {call.version!r} of {call.model!r}; it has {version!r}"
            )
        return self._towers[call.model].answer(call)

    def close(self) -> None:
        """Waits for the calls that are being computed, then removes what was unpacked."""
        for tower in self._towers.values():
            tower.close()


class _Tower:
    """One archive and, from the first call on, its handler."""

    def __init__(self, tower: Tower, archive: Archive, version: str, threads: int | None) -> None:
        self._threads = threads
        self._tower = tower
        self._archive = archive
        self._version = version
        self._lock = threading.Lock()
        self._files = contextlib.ExitStack()
        self._handler: Any = None
        self._context: _Context | None = None
        _TOWERS.add(self)

    def answer(self, call: Call) -> bytes:
        if not self._lock.acquire(timeout=min(call.timeout, threading.TIMEOUT_MAX)):
            raise DeadlineExceeded(f"other calls occupied the {self._tower} tower for {call.limit}")
        try:
            if self._handler is None:
                self._load()
            # The form of TorchServe's gRPC call. A handler gives an answer for each of a batch; this has one.
            (body,) = self._handler.handle([{"request": call.body}], self._context)
        except SystemExit as error:  # How a handler asks TorchServe for a new process.
            raise TransportError(f"the {self._tower} tower cannot go on in this process: {error}") from error
        finally:
            self._lock.release()
        return bytes(body)

    def close(self) -> None:
        with self._lock:
            self._handler = self._context = None
            self._files.close()

    def leave_to_parent(self) -> None:
        """In a forked child: forget what the parent has loaded, without a touch to it.

        The runtimes' threads are not here, so whoever ended their sessions would wait for them forever, at
        the latest when the child exits: these objects are never freed. The folder is the parent's.
        """
        if self._handler is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._handler))
        self._handler = self._context = None
        self._files = contextlib.ExitStack()
        self._lock = threading.Lock()

    def _load(self) -> None:
        with contextlib.ExitStack() as files:
            folder = Path(tempfile.mkdtemp(prefix=f"babelclip-{self._tower}-"))
            files.callback(weakref.finalize(self, _remove, folder, os.getpid()))
            unpack(self._archive, folder)
            handler = make_handler(folder, self._tower)
            yaml = import_needed("yaml")
            try:
                config = yaml.safe_load((folder / "model-config.yaml").read_bytes())
                context = _Context(folder, config, self._version, self._threads)
                handler.initialize(context)
            except Exception as error:  # Whatever the runtimes raise.
                raise TransportError(
                    f"the {self._tower} tower in {self._archive.path} cannot be loaded: {error}"
                ) from error
            self._handler, self._context = handler, context
            self._files = files.pop_all()


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # Else this is a child that was forked, and its parent still needs the folder.
        shutil.rmtree(folder, ignore_errors=True)


class _Context:
    """What TorchServe gives a handler: the model's folder and configuration, and a call without headers.

    Status and headers of an answer go nowhere, as over gRPC: the EmbedResponse itself says what was refused.
    """

    metrics = None

    def __init__(self, folder: Path, config: dict[str, Any], version: str, threads: int | None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config = {**config, "responseTimeout": _RESPONSE_TIMEOUT}
        if _single_threaded:
            threads = 1
        if threads is not None:
            self.model_yaml_config["babelclip"] = {**(config.get("babelclip") or {}), "threads": threads}
        self.manifest = {"model": {"modelVersion": version}}

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {}

    def set_response_content_type(self, index: int, value: str) -> None: ...

    def set_response_status(self, code: int, phrase: str, index: int) -> None: ...

    def set_response_header(self, index: int, key: str, value: str) -> None: ...


_TOWERS: weakref.WeakSet[_Tower] = weakref.WeakSet()
_held: list[_Tower] = []  # while a fork is under way, so that the child can leave them in peace
_single_threaded = False


def _before_fork() -> None:
    _held.extend(_TOWERS)


def _after_fork_in_child() -> None:
    global _single_threaded
    # OpenMP, by which torch computes, hangs in a child when it had threads in the parent.
    _single_threaded = _single_threaded or "torch" in sys.modules
    for tower in _held:
        tower.leave_to_parent()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_held.clear, after_in_child=_after_fork_in_child)
