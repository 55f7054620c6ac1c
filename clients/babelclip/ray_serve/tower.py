"""An archive's handler in this process, in batches, as TorchServe's worker would run it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from babelclip import wire
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.errors import BabelclipError, TransportError
from babelclip.model_store.archives import Archive, unpack
from babelclip.transports.archived_code import import_needed, make_handler
from babelclip.wire import Tower

# As TorchServe has them where an archive does not say.
_BATCH_SIZE = 1
_BATCH_DELAY_MS = 100


class ArchivedTower:
    """A tower that has proved itself: its handler has given the vector that its archive has for a known item.

    Args:
        archive: unpacked into a temporary folder, which goes with this object.
        version: what it is served as.
        metrics: what TorchServe would give a handler to record with; None records nothing.
        gpu: the number of the GPU, of those that this process sees; None for none.

    Attributes:
        batch_size: the most requests of a batch.
        batch_delay: seconds that the first of them waits for others.

    Raises:
        TransportError: the archive is another than its digest says, its handler cannot be started, or it
            gives another vector than it must.
        ImportError: a package is missing that the handler needs.
    """

    def __init__(
        self, tower: Tower, archive: Archive, version: str, *, metrics: Any = None, gpu: int | None = None
    ) -> None:
        made = tempfile.TemporaryDirectory(prefix=f"babelclip-{tower}-", ignore_cleanup_errors=True)
        self._finalizer = weakref.finalize(self, made.cleanup)
        folder = Path(made.name)
        unpack(archive, folder)
        self._handler = make_handler(folder, tower)
        yaml = import_needed("yaml")
        try:
            config = yaml.safe_load((folder / "model-config.yaml").read_bytes()) or {}
            self.batch_size = int(config.get("batchSize", _BATCH_SIZE))
            self.batch_delay = float(config.get("maxBatchDelay", _BATCH_DELAY_MS)) / 1000
            self._context = _Context(folder, config, version, metrics, gpu)
            self._handler.initialize(self._context)
        except Exception as error:  # Whatever the runtimes raise.
            raise TransportError(f"the {tower} tower in {archive.path} cannot be started: {error}") from error
        (answer,) = self.embed([EmbedRequest(canary=True).SerializeToString()])
        try:
            wire.parse_response(answer, 1)
        except BabelclipError as error:
            raise TransportError(
                f"the {tower} tower in {archive.path} fails its self-test: {error}"
            ) from error

    def embed(self, bodies: Sequence[bytes]) -> list[bytes]:
        """N serialized EmbedRequests → as many EmbedResponses, in order; one thread at a time.

        Raises:
            SystemExit: the device is lost, and only another process gets it back.
        """
        # The form of TorchServe's gRPC call.
        answers = self._handler.handle([{"request": body} for body in bodies], self._context)
        return [bytes(answer) for answer in answers]

    def close(self) -> None:
        """Removes what was unpacked; no call follows."""
        self._handler = None
        self._finalizer()


class _Context:
    """What TorchServe gives a handler: the archive's folder and settings, and requests without headers.

    Status and headers of an answer go nowhere: the EmbedResponse itself says what was refused.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], version: str, metrics: Any, gpu: int | None
    ) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": gpu}
        self.model_yaml_config = config
        self.manifest = {"model": {"modelVersion": version}}
        self.metrics = metrics

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {}

    def set_response_content_type(self, index: int, value: str) -> None: ...

    def set_response_status(self, code: int, phrase: str, index: int) -> None: ...

    def set_response_header(self, index: int, key: str, value: str) -> None: ...
