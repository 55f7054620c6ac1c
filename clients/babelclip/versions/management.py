"""TorchServe's management address over gRPC: what is served, and telling it to serve something else.

Unlike the same calls over HTTP these never hold up inference. Registering comes back once the archive is
unpacked, long before its workers are ready; see `babelclip.versions.readiness`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from babelclip.errors import (
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RegistryError,
    Unavailable,
)
from babelclip.transports import torchserve_pb2 as messages
from babelclip.transports.proxies import grpc_options
from babelclip.transports.torchserve import ManagementStub, bearer
from babelclip.transports.url import parse_address

PORT = 7071
CALL_SECONDS = 60.0
# Registering unpacks the archive, and unregistering waits for the workers to end.
LONG_CALL_SECONDS = 600.0
# After a refused connection gRPC fails every call for this long without trying, and then for longer. And
# management stays on the server's machine: a proxy of the environment answers for another one.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class Worker:
    """A worker process; `memory` is its resident bytes, 0 where TorchServe does not measure them."""

    ready: bool
    pid: int
    memory: int


@dataclass(frozen=True)
class Model:
    """One version of a model as the server describes it; times in seconds."""

    version: str
    min_workers: int
    response_timeout: int
    pending: int  # Requests that no worker has taken yet.
    workers: tuple[Worker, ...]

    @property
    def ready(self) -> bool:
        """Whether there are as many workers as there should be, and all have loaded the model."""
        return len(self.workers) >= self.min_workers and all(worker.ready for worker in self.workers)


class Management:
    """A connection to one server's management address. Close it, or use `with`.

    Args:
        url: grpc://HOST:PORT, port 7071 unless named; or grpcs:// for TLS.
        token_file: TorchServe's key_file.json, read with the first call and again when its key is refused.

    Raises:
        ValueError: the URL is not one of gRPC.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        address = parse_address(url if url.rpartition(":")[2].isdecimal() else f"{url.rstrip('/')}:{PORT}")
        if address.scheme not in ("grpc", "grpcs"):
            raise ValueError(f"{url!r} is no address of gRPC management: it must start with grpc://")
        self._target = address.target
        self._token_file = token_file
        self._key: str | None = None
        options = (*_OPTIONS, *grpc_options(self._target))
        self._channel = (
            grpc.secure_channel(self._target, grpc.ssl_channel_credentials(), options=options)
            if address.scheme == "grpcs"
            else grpc.insecure_channel(self._target, options=options)
        )
        self._stub = ManagementStub(self._channel)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Management:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reachable(self) -> bool:
        """Whether the server answers yet.

        Raises:
            BabelclipError: it does, and refuses; or the token file cannot be read.
        """
        try:
            self._call("ListModels", messages.ListModelsRequest(limit=1), "listing models")
        except Unavailable:
            return False
        return True

    def describe(self, model: str, version: str = "") -> Model | None:
        """A version of a model, the default one unless named; None where the server does not have it.

        Raises:
            BabelclipError: as `_call` says; or ProtocolError, when this is not TorchServe's answer.
        """
        found = self._describe(model, version)
        return found[0] if found else None

    def versions(self, model: str) -> list[Model]:
        """Every version of a model that the server has, in no order.

        Raises:
            BabelclipError: as in `describe`.
        """
        return self._describe(model, "all")

    def register(self, model: str, archive: str, workers: int) -> None:
        """Has the server unpack an archive of its store, by its file name, and start to load it.

        Raises:
            BabelclipError: as `_call` says.
        """
        request = messages.RegisterModelRequest(model_name=model, url=archive, initial_workers=workers)
        self._call("RegisterModel", request, f"registering {model} from {archive}", LONG_CALL_SECONDS)

    def unregister(self, model: str, version: str) -> None:
        """Ends the workers of a version at once: what they compute or have queued is lost.

        Raises:
            ModelNotFound: the server does not have it.
            BabelclipError: as `_call` says.
        """
        request = messages.UnregisterModelRequest(model_name=model, model_version=version)
        self._call("UnregisterModel", request, f"unregistering {model} {version}", LONG_CALL_SECONDS)

    def set_default(self, model: str, version: str) -> None:
        """Sends requests that name no version to this one, from the next request on.

        Raises:
            ModelNotFound: the server does not have it.
            BabelclipError: as `_call` says.
        """
        request = messages.SetDefaultRequest(model_name=model, model_version=version)
        self._call("SetDefault", request, f"making {model} {version} the default")

    def scale(self, model: str, version: str, workers: int) -> None:
        """Starts or ends workers until there are `workers`; what an ended one computes is lost.

        Raises:
            ModelNotFound: the server does not have the version.
            BabelclipError: as `_call` says.
        """
        request = messages.ScaleWorkerRequest(
            model_name=model, model_version=version, min_worker=workers, max_worker=workers
        )
        self._call("ScaleWorker", request, f"scaling {model} {version}", LONG_CALL_SECONDS)

    def _describe(self, model: str, version: str) -> list[Model]:
        request = messages.DescribeModelRequest(model_name=model, model_version=version)
        try:
            answer = self._call("DescribeModel", request, f"describing {model} {version}".rstrip())
        except ModelNotFound:
            return []
        try:
            return [_model(described) for described in json.loads(answer)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ProtocolError(
                f"{self._target} describes {model} in a way that is not TorchServe's"
            ) from error

    def _call(self, method: str, request: Any, what: str, seconds: float = CALL_SECONDS) -> str:
        """One call; after a refused key one more, if the token file has another one by now.

        Raises:
            AuthenticationError: the management key was refused, or cannot be read.
            Unavailable, DeadlineExceeded: the server does not answer.
            ModelNotFound: it has no such model or version.
            RegistryError: it refused, and says why.
        """
        call = getattr(self._stub, method)
        for first in (True, False):
            key = self._key = self._key or self._read_key()
            try:
                return str(call(request, metadata=bearer(key), timeout=seconds).msg)
            except grpc.RpcError as error:
                refusal = self._refusal(error, what, seconds)
                if first and isinstance(refusal, AuthenticationError):
                    self._key = self._read_key()
                    if self._key != key:
                        continue
                raise refusal from error
        raise AssertionError("the second attempt returns or raises")

    def _read_key(self) -> str:
        try:
            return str(json.loads(self._token_file.read_bytes())["management"]["key"])
        except OSError as error:
            reason = error.strerror
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = 'it has no {"management": {"key": "…"}}'
        raise AuthenticationError(f"no management key from the file {self._token_file}: {reason}")

    def _refusal(self, error: grpc.RpcError, what: str, seconds: float) -> BabelclipError:
        assert isinstance(error, grpc.Call)
        status = error.code()
        sentence = (error.details() or "").partition("\n")[0] or "it gives no reason"
        if status is grpc.StatusCode.PERMISSION_DENIED and "Model API" in sentence:
            return RegistryError(
                f"{self._target} neither registers nor unregisters models, because it was started without"
                " enable_model_api; scripts/serve starts it with it"
            )
        if status in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
            return AuthenticationError(
                f"{self._target} refused the management key of {self._token_file}: it is another server's, or"
                " has expired and must be renewed"
            )
        if status is grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"no answer from {self._target}: {sentence}")
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{what} took longer than {seconds:.0f} seconds")
        if status is grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(sentence)
        return RegistryError(f"{what} failed: {status.name}: {sentence}")


def _model(described: dict[str, Any]) -> Model:
    return Model(
        version=str(described["modelVersion"]),
        min_workers=int(described["minWorkers"]),
        response_timeout=int(described["responseTimeout"]),
        pending=int(described["jobQueueStatus"]["pendingRequests"]),
        workers=tuple(
            Worker(worker["status"] == "READY", int(worker["pid"]), int(worker["memoryUsage"]))
            for worker in described["workers"]
        ),
    )
