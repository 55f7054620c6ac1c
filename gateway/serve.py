"""The gateway's process: listens, watches the engine, and ends what is under way before it goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import uvicorn

from babelclip.errors import BabelclipError
from babelclip.fetching import Hosts
from gateway import tracing
from gateway.access.control import AccessControl
from gateway.admission.towers import Admission
from gateway.collections.service import Collections
from gateway.collectors import CacheCollector, DiskCollector, QueueCollector, ShadowCollector
from gateway.fetch import ItemFetcher, Limits
from gateway.http.app import build
from gateway.http.protocol import BoundedProtocol
from gateway.keys import KeyFile
from gateway.metrics import Metrics
from gateway.metrics_server import MetricsServer
from gateway.models import Models
from gateway.rpc.server import RpcServer
from gateway.settings import Settings
from gateway.towers.base import Towers
from gateway.towers.cache import VectorCache
from gateway.towers.engine import EngineTowers
from gateway.towers.merging import MergingTowers
from gateway.versions import VersionFile

# What a request that is under way has left when the gateway is told to stop; longer than any has by itself.
DRAIN_SECONDS = 60
BACKLOG = 2048  # connections that wait to be taken
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addresses:
    """Where the gateway listens."""

    http: str
    grpc: str
    metrics: str


def engine_models(settings: Settings) -> Models:
    """The models of the settings, at the engine of the settings. Within a running event loop.

    Raises:
        ValueError: the engine's address is none.
    """
    towers = {
        name: EngineTowers(
            settings.engine,
            text_model=model.text,
            vision_model=model.vision,
            token_file=settings.engine_token_file or None,
            timeout=settings.timeout,
        )
        for name, model in settings.models.items()
    }
    return models_of(towers, settings)


def models_of(towers: Mapping[str, Towers], settings: Settings) -> Models:
    """Models with these towers, and with what the settings put before them.

    Raises:
        ValueError: the file of versions is none.
    """
    cache = VectorCache(settings.cache_mb * 1_000_000) if settings.cache_mb else None
    admission = Admission(at_once=settings.items_at_tower, max_wait=settings.max_wait)
    admitted = {name: admission.before(name, MergingTowers(each)) for name, each in towers.items()}
    versions = VersionFile(settings.versions_file or None)
    fetcher = image_fetcher(settings)
    return Models(admitted, versions=versions, cache=cache, admission=admission, fetcher=fetcher)


def image_fetcher(settings: Settings) -> ItemFetcher | None:
    """What fetches images by their address, from the hosts of the settings; None where there are none."""
    if not settings.image_url_hosts:
        return None
    return ItemFetcher(
        Hosts(settings.image_url_hosts),
        Limits(
            seconds=settings.image_url_timeout,
            image_bytes=settings.max_image_url_bytes,
            request_bytes=settings.max_body_bytes,
            images=settings.max_image_urls,
        ),
    )


async def run(
    settings: Settings,
    models: Models,
    keys: KeyFile | None,
    listening: Callable[[Addresses], None],
    stop: asyncio.Event,
    http_socket: socket.socket | None = None,
) -> None:
    """Serve until `stop` is set; then answer what is under way, and return.

    Args:
        keys: those of the callers; None lets everybody in.
        listening: told once where the gateway listens.
        http_socket: listens for HTTP already; closed at the end.

    Raises:
        OSError: a port is taken or may not be.
    """
    with contextlib.ExitStack() as opened:
        metrics = Metrics()
        metrics.expect(models.towers)
        metrics.registry.register(DiskCollector(_folders(settings)))
        access = None if keys is None else AccessControl(keys.find, metrics.refused)
        if models.admission is not None:
            models.admission.observer = metrics
            metrics.registry.register(QueueCollector(models.admission))
        if models.cache is not None:
            metrics.registry.register(CacheCollector(models.cache, models.towers))
        metrics.registry.register(ShadowCollector(models.shadowed))
        collections = Collections(models, settings, metrics) if settings.collections else None
        if collections is not None:
            opened.callback(collections.close)
        metrics_server = MetricsServer.of(metrics.registry, settings)
        opened.callback(metrics_server.close)
        http_socket = opened.enter_context(http_socket or listen(settings.host, settings.port))
        config = uvicorn.Config(
            build(models, settings, access, metrics, collections),
            http=BoundedProtocol,
            ws="none",
            proxy_headers=False,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        with naming("the TLS certificate and key"):
            config.load()
        server = _Server(config)
        rpc = RpcServer(models, settings, access, metrics, collections)
        grpc_address = await rpc.start()
        watching = asyncio.create_task(_watch(models, keys, rpc, metrics, settings.probe_seconds))
        serving = asyncio.create_task(server.serve([http_socket]))
        stopping = asyncio.create_task(stop.wait())
        try:
            scheme = "https" if settings.tls_certificate else "http"
            http_address = address(http_socket, scheme)
            listening(Addresses(http_address, grpc_address, metrics_server.address))
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            server.leave()
            await asyncio.gather(rpc.stop(DRAIN_SECONDS), serving)
        finally:
            for task in (watching, stopping, serving):
                task.cancel()
            await asyncio.gather(watching, stopping, serving, rpc.stop(0), return_exceptions=True)
            await models.close()


def serve(
    settings: Settings,
    keys: KeyFile | None,
    listening: Callable[[Addresses], None],
    *,
    http_socket: socket.socket | None = None,
    until_eof: int | None = None,
) -> None:
    """Serve in this process, the engine of the settings behind, until SIGTERM or SIGINT. In the main thread.

    Args:
        keys, listening, http_socket: as of `run`.
        until_eof: a descriptor; serve until what it reads from ends, too.

    Raises:
        OSError: a port is taken or may not be.
        ValueError: a setting cannot be used.
    """

    async def serving() -> None:
        loop = asyncio.get_running_loop()
        stop = stop_on_signals(loop)
        if until_eof is not None:
            stop_at_eof(loop, stop, until_eof)
        await run(settings, engine_models(settings), keys, listening, stop, http_socket)

    end_tracing = tracing.start(os.environ)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serving())
    finally:
        end_tracing()


class _Server(uvicorn.Server):
    """uvicorn that leaves when it is told to, and not by signals: they end all servers of the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Take no more connections, and end when what is under way is answered."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Wait for the end, and set the date of answers each second; uvicorn looks ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), 1.0)
        # By a timer, which comes after what arrives: a connection that is being accepted just now has its
        # transport before asyncio's server closes, which would leave it open and unanswered.
        await asyncio.sleep(0.01)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where there is one."""
    try:
        import uvloop
    except ImportError:  # There is none for Windows.
        return None
    return uvloop.new_event_loop


def stop_on_signals(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def stop_at_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, descriptor: int) -> None:
    """Set `stop` when what a descriptor reads from ends, as a pipe does with the process that writes."""

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, read)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: the address is none of this machine, or the port is taken; the message names both.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return without_delay(socket.create_server((host, port), family=family, backlog=BACKLOG))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(f"cannot listen on {host} port {port}: {reason}") from error


def without_delay(listener: socket.socket) -> socket.socket:
    """A socket whose connections send what they have at once.

    An answer is written as its head and its body, and the body would wait for the caller's machine to
    acknowledge the head, 40 ms on many. uvloop sees to it by itself, asyncio's own loop does not.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Says in an OSError what could not be used."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot use {what}: {error.strerror or error}") from error


def address(listener: socket.socket, scheme: str) -> str:
    """The URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _folders(settings: Settings) -> dict[str, str]:
    """The folders that the gateway writes to, by what is in them."""
    folders = {"collections": settings.collections}
    if settings.authentication:
        folders["keys"] = os.path.dirname(settings.keys_file) or "."
    return {name: folder for name, folder in folders.items() if folder}


async def _watch(
    models: Models, keys: KeyFile | None, rpc: RpcServer, metrics: Metrics, seconds: float
) -> None:
    """Ask again and again which version is the default and whether it embeds, and tell whoever asks."""
    last: dict[str, str] = {}
    while True:
        if keys is not None:
            metrics.keys(keys.entries())
        try:
            states = await models.check()
        except Exception:  # A mistake of ours must not end the watch.
            _log.exception("the models could not be checked")
            await asyncio.sleep(seconds)
            continue
        metrics.states(states)
        rpc.tell(ready=not any(isinstance(found, BabelclipError) for found in states.values()))
        for name, found in states.items():
            if isinstance(found, BabelclipError):
                state = f"{name} is not ready: {found}"
            else:
                state = f"{name} serves version {found.version or '(none)'}, space {found.space}"
            if last.get(name) != state:
                _log.info("%s", state)
                last[name] = state
        await asyncio.sleep(seconds)
