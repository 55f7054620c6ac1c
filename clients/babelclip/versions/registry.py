"""The registry: which versions of a model a running server has, and which of them it answers with.

    from babelclip import Registry

    with Registry("model_store", token_file=".run/key_file.json") as registry:
        registry.add("new_store")
        registry.promote("2.0")
        registry.rollback()

Text and vision towers of one embedding space move together. The truth is the manifest of the model store,
from which a server comes up again after a crash; the server is changed over its management address. Every
operation may be killed at any moment: run again, it does what is left.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from babelclip.errors import BabelclipError, RegistryError
from babelclip.model_store.served import ServedStore
from babelclip.versions.deployment import Deployment
from babelclip.versions.management import Management
from babelclip.versions.overview import Check, Overview, overview, verify
from babelclip.versions.rollout import Plan, Planner

Steps = tuple[str, ...]


class Registry:
    """The versions of one server. Close it, or use `with`. One thread, and one operator, at a time.

    Every change returns the sentences of the steps it took; with `dry_run=True` it changes nothing, and they
    are those it would take.

    Args:
        store: the folder of the archives and manifest.json that the server was started with.
        management: TorchServe's management address, grpc://HOST:PORT.
        url: an inference address, for canaries.
        grpc_url: another one; None for none. By default canaries are embedded over HTTP and over gRPC.
        token_file: TorchServe's key_file.json.
        timeout: seconds to wait for workers to load, or for callers to leave a version.
        progress: is called with the sentence of each step before it is taken.

    Raises:
        ValueError: an address is not valid, or the timeout is not positive.

    Every operation raises RegistryError for what is refused or failed (ManifestError, when the store is at
    fault), AuthenticationError for a refused key, and another BabelclipError when the server does not answer.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] = "model_store",
        *,
        management: str = "grpc://127.0.0.1:7071",
        url: str = "http://127.0.0.1:8080",
        grpc_url: str | None = "grpc://127.0.0.1:7070",
        token_file: str | os.PathLike[str] = ".run/key_file.json",
        timeout: float = 600.0,
        progress: Callable[[str], object] | None = None,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        self._store = ServedStore(Path(store))
        self._management = Management(management, Path(token_file))
        urls = (url,) if grpc_url is None else (url, grpc_url)
        self._deployment = Deployment(self._management, urls, Path(token_file), timeout=timeout)
        self._planner = Planner(self._store, self._deployment)
        self._progress = progress or (lambda sentence: None)

    def list(self) -> Overview:
        """What the manifest names, what the server has of it, and what is not as it should be."""
        return overview(self._store.manifest(), self._deployment)

    def verify(self, version: str | None = None) -> tuple[Check, ...]:
        """Canaries of one or all versions, by every address, and both towers' defaults."""
        return tuple(verify(self._store.manifest(), self._deployment, version))

    def add(self, folder: str | os.PathLike[str], *, name: str | None = None, dry_run: bool = False) -> Steps:
        """Brings in the default (or named) pair of another store, and serves it beside the others.

        What fails is undone: no copy, entry or worker stays.
        """
        return self._carry_out(lambda: self._planner.add(Path(folder), name), dry_run)

    def promote(self, version: str, *, dry_run: bool = False) -> Steps:
        """Proves the version, and makes it the default of both towers."""
        return self._carry_out(lambda: self._planner.promote(version), dry_run)

    def rollback(self, *, dry_run: bool = False) -> Steps:
        """Promotes the previous default; undoes a promotion that is unfinished."""
        return self._carry_out(self._planner.rollback, dry_run)

    def retire(
        self, version: str, *, quiet: float | None = None, delete: bool = False, dry_run: bool = False
    ) -> Steps:
        """Ends both towers of the version, once no request has waited for them for `quiet` seconds.

        Ending a worker is not graceful: what it computes is lost. By default `quiet` is one responseTimeout
        of the model, the longest that a worker computes, but at most 120 seconds. `delete` also deletes the
        archives.
        """
        return self._carry_out(lambda: self._planner.retire(version, quiet=quiet, delete=delete), dry_run)

    def scale(self, version: str, workers: int, *, dry_run: bool = False) -> Steps:
        """Gives both towers `workers` workers each, until the server is started again.

        Of fewer workers those that end lose what they compute.

        Raises:
            ValueError: `workers` is less than 1.
        """
        return self._carry_out(lambda: self._planner.scale(version, workers), dry_run)

    def close(self) -> None:
        """Closes the connection."""
        self._management.close()

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _carry_out(self, make: Callable[[], Plan], dry_run: bool) -> Steps:
        if dry_run:
            return tuple(step.sentence for step in make().steps)
        with self._store.held():
            plan = make()
            try:
                for step in plan.steps:
                    self._progress(step.sentence)
                    step.take()
            except (BabelclipError, OSError) as error:
                if plan.undo is None:
                    raise
                left = plan.undo()
                how = f"could not be undone: {'; '.join(left)}" if left else "was undone"
                raise RegistryError(f"{error}; what was begun {how}") from error
        return tuple(step.sentence for step in plan.steps)
