"""A cluster of Ray, seen by a process that has joined it: what is deployed, calls of replicas by handles."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import threading
from collections.abc import Collection, Mapping
from typing import Any

from babelclip.errors import TransportError, Unavailable

_LOOPBACK = ("127.0.0.1", "localhost")
# On Linux Ray takes loopback for the address that other machines know, and then listens there. Where clusters
# of several machines are not to be, as on other systems, loopback stays loopback. Read when Ray is imported.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_CONNECT_SECONDS = 10.0
_joining = threading.Lock()


class ReplicaDied(TransportError):
    """The replica that had the request ended before it answered; the request may be why."""


def import_ray(module: str = "ray") -> Any:
    """Ray, or a module of it.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Ray Serve needs the module {error.name!r}, which is missing: pip install 'ray[serve]', the same"
            " version as the cluster's",
            name=error.name,
        ) from error


def join(address: str) -> None:
    """Makes this process a driver of a cluster, unless it is one already.

    Not from the main thread of a program with signals of its own: there Ray would take SIGTERM.

    Raises:
        Unavailable: there is no cluster, it does not answer, or it refuses the token.
        ImportError: Ray is not installed.
    """
    loopback = address.rpartition(":")[0] in _LOOPBACK
    if loopback:
        os.environ.update(ALONE)
    ray = import_ray()
    with _joining:
        if ray.is_initialized():
            return
        _check_listening(address)
        try:
            ray.init(
                address=address,
                **({"_node_ip_address": "127.0.0.1"} if loopback else {}),
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.WARNING,
            )
        except Exception as error:  # Of many kinds: ConnectionError, ValueError, RuntimeError, Ray's own.
            raise Unavailable(f"no cluster of Ray at {address}: {first_line(error)}") from error


def _check_listening(address: str) -> None:
    """Ray itself tries for minutes.

    Raises:
        Unavailable: nothing listens at HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():  # As "auto", which Ray looks up.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(f"no cluster of Ray at {address}: {error}") from error


class RayApplications:
    """See `babelclip.transports.ray.Applications`: those of the cluster at an address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._handles: dict[tuple[str, str], Any] = {}

    def deployed(self) -> Mapping[str, Collection[str]]:
        """See `Applications.deployed`; what is being deleted, or could not be deployed, is not there."""
        join(self._address)
        serve = import_ray("ray.serve")
        try:
            found = serve.status().applications
        except Exception as error:
            raise Unavailable(f"Ray Serve at {self._address} cannot be asked: {first_line(error)}") from error
        deployed = {
            str(name): tuple(map(str, application.deployments))
            for name, application in found.items()
            if application.status.value not in ("NOT_STARTED", "DEPLOY_FAILED", "DELETING")
        }
        for key in [key for key in self._handles if key[0] not in deployed]:
            del self._handles[key]
        return deployed

    async def embed(self, application: str, deployment: str, body: bytes) -> bytes:
        """See `Applications.embed`."""
        exceptions, serve = import_ray("ray.exceptions"), import_ray("ray.serve.exceptions")
        loop = asyncio.get_running_loop()
        key = application, deployment
        try:
            handle: Any = self._handles.get(key)
            if handle is None:
                handle = await asyncio.to_thread(self._handle, application, deployment)
                self._handles[key] = handle
            response = handle.remote(body)
            try:
                answer = await response
            except asyncio.CancelledError:
                loop.run_in_executor(None, response.cancel)  # It may wait for its turn at the router.
                raise
        except (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError) as error:
            raise ReplicaDied(f"a replica of {application} {deployment} died") from error
        except (exceptions.RayTaskError, exceptions.TaskCancelledError) as error:
            raise TransportError(f"{application} {deployment} failed: {first_line(error)}") from error
        except (serve.RayServeException, exceptions.RayError) as error:
            raise Unavailable(f"{application} {deployment} does not answer: {first_line(error)}") from error
        return bytes(answer)

    def close(self) -> None:
        """Leaves the handles."""
        self._handles.clear()

    def _handle(self, application: str, deployment: str) -> Any:
        return import_ray("ray.serve").get_deployment_handle(deployment, app_name=application)


def first_line(error: BaseException) -> str:
    """What an error says, without the stack traces that Ray puts below."""
    cause = getattr(error, "cause", None)
    said = str(cause if isinstance(cause, BaseException) else error).strip()
    return said.partition("\n")[0][:300] or type(error).__name__
