"""A running server, as the registry sees it: the two towers of a version, brought up and proved together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from babelclip.errors import RegistryError
from babelclip.model_store.manifest import Entry
from babelclip.versions.management import Management
from babelclip.versions.readiness import prove, readiness_check
from babelclip.wire import TOWERS, Tower

POLL_SECONDS = 0.2
# The longest that a retirement waits for what a worker computes, unless it is given.
LONGEST_QUIET_SECONDS = 120.0


class Deployment:
    """What can be done with a version on the server; the models there are called `text` and `vision`.

    Args:
        management: the connection to its management address.
        urls: every address that canaries are sent to.
        token_file: TorchServe's key_file.json.
        timeout: seconds to wait for workers, or for a queue to be empty.
    """

    def __init__(
        self, management: Management, urls: Sequence[str], token_file: Path, *, timeout: float
    ) -> None:
        self.management = management
        self.urls = urls
        self.token_file = token_file
        self.timeout = timeout

    def defaults(self) -> dict[Tower, str | None]:
        """The version that each tower answers with when none is named."""
        found = {tower: self.management.describe(tower) for tower in TOWERS}
        return {tower: model.version if model else None for tower, model in found.items()}

    def present(self, version: str) -> tuple[Tower, ...]:
        """The towers that the server has in this version, ready or not."""
        return tuple(tower for tower in TOWERS if self.management.describe(tower, version) is not None)

    def register(self, tower: Tower, archive: str) -> None:
        """Starts to load an archive of the store, in as many workers as the tower's default version has."""
        default = self.management.describe(tower)
        self.management.register(tower, archive, max(1, default.min_workers if default else 1))

    def wait_ready(self, version: str) -> None:
        """Waits until every worker of both towers is READY.

        Raises:
            RegistryError: one cannot be loaded, or the time is over.
        """
        self._wait(
            readiness_check(self.management, version), f"the workers of version {version} are not ready"
        )

    def prove(self, entry: Entry) -> None:
        """Has both towers embed their canaries, by every address.

        Raises:
            RegistryError: one does not give the vector that it must.
        """
        prove(entry, self.urls, self.token_file)

    def scale(self, version: str, workers: int) -> None:
        """Gives both towers `workers` workers each, and waits until they are READY.

        Raises:
            RegistryError: the time is over, or new workers cannot be loaded.
        """
        more = False
        for tower in TOWERS:
            before = self.management.describe(tower, version)
            more = more or before is None or len(before.workers) < workers
            self.management.scale(tower, version, workers)
        # Workers that end are no failed ones, which `readiness_check` would take them for.
        done = readiness_check(self.management, version) if more else lambda: True
        what = f"the workers of version {version} are not {workers} for each tower"
        self._wait(lambda: done() and self._has_workers(version, workers), what)

    def quiet_seconds(self, version: str) -> float:
        """How long a queue must have been empty before nothing can be in work: one responseTimeout."""
        models = [self.management.describe(tower, version) for tower in TOWERS]
        return float(
            min(max((model.response_timeout for model in models if model), default=0), LONGEST_QUIET_SECONDS)
        )

    def drain(self, version: str, quiet: float) -> None:
        """Waits until no request has waited for either tower for `quiet` seconds.

        Raises:
            RegistryError: requests still come.
        """
        empty_since: float | None = None

        def drained() -> bool:
            nonlocal empty_since
            models = [self.management.describe(tower, version) for tower in TOWERS]
            if any(model.pending for model in models if model):
                empty_since = None
                return False
            empty_since = empty_since or time.monotonic()
            return time.monotonic() - empty_since >= quiet

        self._wait(drained, f"callers that name version {version} still send requests", quiet)

    def _has_workers(self, version: str, workers: int) -> bool:
        models = [self.management.describe(tower, version) for tower in TOWERS]
        return all(model is not None and model.ready and len(model.workers) == workers for model in models)

    def _wait(self, done: Callable[[], bool], what: str, longer: float = 0.0) -> None:
        seconds = self.timeout + longer
        give_up = time.monotonic() + seconds
        while not done():
            if time.monotonic() > give_up:
                raise RegistryError(f"{what} after {seconds:.0f} seconds; a larger --timeout waits longer")
            time.sleep(POLL_SECONDS)
