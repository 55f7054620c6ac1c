"""A server to operate on in tests: TorchServe's management calls, with state, and two towers behind them.

The JSON, the sentences and the statuses are those of TorchServe 0.12. Which version and which space an
archive is stands in the archive, as in a real one; vectors depend on the space and the item alone.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.torchserve import MANAGEMENT
from babelclip.transports.torchserve_pb2 import (
    DescribeModelRequest,
    ListModelsRequest,
    ManagementResponse,
    RegisterModelRequest,
    ScaleWorkerRequest,
    SetDefaultRequest,
    UnregisterModelRequest,
)
from tests.clients.fake_server import BAD_TOKEN, DIM, grpc_server, http_server, vector_of

TOWERS = ("text", "vision")
REQUESTS = {
    "DescribeModel": DescribeModelRequest,
    "ListModels": ListModelsRequest,
    "RegisterModel": RegisterModelRequest,
    "ScaleWorker": ScaleWorkerRequest,
    "SetDefault": SetDefaultRequest,
    "UnregisterModel": UnregisterModelRequest,
}
_pids = count(4_000_001)  # No process of this machine has such a number.


class Refused(Exception):
    """A call that fails: the status and the details that the caller hears."""

    def __init__(self, status: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.status = status
        self.details = details


def not_found(sentence: str, kind: str = "ModelVersionNotFoundException") -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, f"{sentence}\norg.pytorch.serve.archive.model.{kind}")


@dataclass
class Model:
    """One version of a tower that is registered."""

    mar: str
    version: str
    space: str
    pids: list[int]
    loading: int  # So many times it is described before its workers are READY.
    pending: list[int] = field(default_factory=list)  # Requests that wait, as seen one time after the other.


class ManagedServer:
    """The server. `calls` holds what was asked of it, `changes` what was asked to change."""

    def __init__(self) -> None:
        self.web, self.rpc = http_server(), grpc_server()
        for fake in (self.web, self.rpc):
            fake.versions = self  # type: ignore[assignment]
            fake.embed = self.embed  # type: ignore[method-assign]
        self._server = grpc.server(ThreadPoolExecutor(4))
        handlers = {name: self._handler(name, request) for name, request in REQUESTS.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(MANAGEMENT, handlers)])
        self.url = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def reset(self, store: Path, keys: Path) -> None:
        """Start again from the manifest of a store, as scripts/serve does, with new keys."""
        self.store = store
        self.models: dict[str, dict[str, Model]] = {tower: {} for tower in TOWERS}
        self.defaults: dict[str, str] = {}
        self.calls: list[str] = []
        self.embedded: list[tuple[str, str]] = []  # tower and version of every request for vectors
        self.before: dict[
            str, Callable[[], object]
        ] = {}  # by call, "SetDefault text 2.0": happens first, once
        self.unloadable: set[str] = set()  # versions
        self.sick: set[str] = set()  # versions whose text tower gives another vector
        self.model_api = True
        self.key = f"management-{next(_pids)}"
        keys.write_text(json.dumps({"management": {"key": self.key}, "inference": {"key": "inference"}}))
        self.web.token = self.rpc.token = "inference"
        entries = json.loads((store / "manifest.json").read_text())["spaces"]
        for entry in sorted(entries, key=lambda entry: not entry["default"]):
            if not entry.get("unproved"):
                for tower in TOWERS:
                    self._register(tower, entry[tower]["mar"], 1, loading=0)

    @property
    def changes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("DescribeModel")]

    def close(self) -> None:
        self.web.close()
        self.rpc.close()
        self._server.stop(0).wait()

    def __contains__(self, version: object) -> bool:
        """Whether any tower has the version; the servers of the two towers ask."""
        return any(version in versions for versions in self.models.values())

    def embed(self, model: str, version: str | None, body: bytes) -> bytes:
        """The tower's answer in the space of the version."""
        request = EmbedRequest.FromString(body)
        served = self.models[model][version or self.defaults[model]]
        self.embedded.append((model, served.version))
        response = EmbedResponse(space=served.space, dim=DIM, logit_scale=20.0, version=served.version)
        if request.space and request.space != served.space:
            response.error.code, response.error.message = "space_mismatch", f"it serves {served.space}"
            return response.SerializeToString()
        vectors = [vector_of(served.space.encode() + item) for item in (*request.texts, *request.images)]
        if model == "text" and served.version in self.sick:
            vectors = [-vector for vector in vectors]
        response.vectors = b"".join(vector.astype("<f4").tobytes() for vector in vectors)
        return response.SerializeToString()

    def _handler(self, name: str, request_type: Any) -> Any:
        def call(request: Any, context: grpc.ServicerContext) -> ManagementResponse:
            try:
                return ManagementResponse(msg=self._answer(name, request, context))
            except Refused as refused:
                context.abort(refused.status, refused.details)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=request_type.FromString,
            response_serializer=ManagementResponse.SerializeToString,
        )

    def _answer(self, name: str, request: Any, context: grpc.ServicerContext) -> str:
        if ("authorization", f"Bearer {self.key}") not in context.invocation_metadata():
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, BAD_TOKEN)
        tower = getattr(request, "model_name", "")
        version = getattr(request, "model_version", "") or getattr(request, "url", "")
        said = f"{name} {tower} {version}".strip()
        self.calls.append(said)
        self.before.pop(said, lambda: None)()
        if name in ("RegisterModel", "UnregisterModel") and not self.model_api:
            kind = "org.pytorch.serve.archive.model.ModelException"
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"Model API disabled\n{kind}")
        if name == "DescribeModel":
            return json.dumps(self._describe(tower, version), indent=2)
        if name == "RegisterModel":
            self._register(tower, version, request.initial_workers, loading=1)
            return "Processing worker updates..."
        if name == "ListModels":
            listed = [{"modelName": tower, "modelUrl": "?"} for tower in TOWERS if self.models[tower]]
            return json.dumps({"models": listed[: request.limit]}, indent=2)
        model = self._find(tower, version)
        if name == "SetDefault":
            self.defaults[tower] = version
            return f'Default version successfully updated for model "{tower}" to "{version}"'
        if name == "ScaleWorker":
            model.pids = (model.pids + [next(_pids) for _ in range(request.min_worker)])[: request.min_worker]
            return "Processing worker updates..."
        if self.defaults[tower] == version and len(self.models[tower]) > 1:
            raise Refused(grpc.StatusCode.UNKNOWN)
        del self.models[tower][version]
        return f'Model "{tower}" unregistered'

    def _find(self, tower: str, version: str) -> Model:
        if not self.models.get(tower):
            raise not_found(f"Model not found: {tower}", "ModelNotFoundException")
        if version not in self.models[tower]:
            raise not_found(f"Model version: {version} does not exist for model: {tower}")
        return self.models[tower][version]

    def _register(self, tower: str, mar: str, workers: int, *, loading: int) -> None:
        if not (self.store / mar).exists():
            raise not_found(f"Model not found at: {mar}", "ModelNotFoundException")
        with zipfile.ZipFile(self.store / mar) as archive:
            version = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"]
            space = json.loads(archive.read("meta.json"))["space"]
        if version in self.models[tower]:
            raise Refused(grpc.StatusCode.UNKNOWN)
        pids = [next(_pids) for _ in range(workers)]
        self.models[tower][version] = Model(mar, version, space, pids, loading)
        self.defaults.setdefault(tower, version)

    def _describe(self, tower: str, version: str) -> list[dict[str, Any]]:
        if version == "all":
            self._find(tower, self.defaults.get(tower, ""))
            return [self._described(model) for model in self.models[tower].values()]
        return [self._described(self._find(tower, version or self.defaults.get(tower, "")))]

    def _described(self, model: Model) -> dict[str, Any]:
        ready = model.loading == 0 and model.version not in self.unloadable
        model.loading = max(0, model.loading - 1)
        if model.version in self.unloadable:
            model.pids = [next(_pids)]
        workers = [
            {"id": "9000", "status": "READY" if ready else "UNLOADING", "memoryUsage": 1_000_000, "pid": pid}
            for pid in model.pids
        ]
        return {
            "modelVersion": model.version,
            "modelUrl": model.mar,
            "minWorkers": len(model.pids),
            "maxWorkers": len(model.pids),
            "responseTimeout": 60,
            "workers": workers,
            "jobQueueStatus": {
                "remainingCapacity": 100,
                "pendingRequests": model.pending.pop(0) if model.pending else 0,
            },
        }


@contextlib.contextmanager
def managed_server() -> Iterator[ManagedServer]:
    """A server, to be `reset` before it is used."""
    server = ManagedServer()
    try:
        yield server
    finally:
        server.close()
