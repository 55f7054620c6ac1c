"""TorchServe as a process: its folder, its environment, its end. All it starts ends with it."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from serving import LaunchError
from serving.environment import passed_on
from serving.java import Java
from serving.settings import HOSTS, Settings

# How long TorchServe may take to end by itself before what is left is killed; it needs about 3 seconds.
STOP_SECONDS = 20.0
# A Unix socket has a path of at most 107 bytes; a worker's ends in /.ts.sock.NNNN.
LONGEST_TEMP_PATH = 90
# The last line of the traceback of a worker, and how many of them are shown.
_ERROR = re.compile(r" MODEL_LOG - [\w.]*(Error|Exception|Exit|Interrupt)\b")
_ERRORS = 3
# What the command lines of TorchServe's processes hold: its launcher's, the front end's, a worker's.
PARTS = ("ts.model_server", "org.pytorch.serve.ModelServer", "model_service_worker.py")


class RunFolder:
    """The state of one server: logs, configuration, tokens, temporary files. One server at a time uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config = self.path / "config.properties"
        self.tokens = self.path / "key_file.json"
        self.temp = self.path / "tmp"
        if len(os.fsencode(self.temp)) > LONGEST_TEMP_PATH:
            # One of this folder's own where paths are short; a server that was killed left it there.
            name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
            self.temp = Path(tempfile.gettempdir(), f"babelclip-{os.geteuid()}-{name}")
        self.logs = self.path / "logs"
        self.console = self.logs / "console.log"
        self.log = self.logs / "torchserve.log"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, empty it of what an earlier run left, and keep it for this process.

        Raises:
            LaunchError: another server holds the folder, the path of temporary files is too long for a
                worker's socket, or this user cannot write there.
        """
        if len(os.fsencode(self.temp)) > LONGEST_TEMP_PATH:
            raise LaunchError(
                f"the path {self.temp} is too long for the workers' sockets; choose a shorter --run-dir"
            )
        with contextlib.ExitStack() as until_the_end:
            with _written(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                lock = until_the_end.enter_context((self.path / "lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise LaunchError(
                        f"a server is already running in {self.path}; choose another --run-dir"
                    ) from None
                # A launcher that was killed outright could end nothing.
                end(self._left_behind)
                shutil.rmtree(self.temp, ignore_errors=True)
                self.tokens.unlink(missing_ok=True)
                self.temp.mkdir(mode=0o700)
                self.logs.mkdir(exist_ok=True)
            try:
                yield
            finally:
                # The tokens are worth nothing without the server; the unpacked archives are large.
                self.tokens.unlink(missing_ok=True)
                shutil.rmtree(self.temp, ignore_errors=True)

    def write(self, settings: Settings) -> None:
        """Write what TorchServe is to read.

        Raises:
            LaunchError: the folder cannot be written to.
        """
        with _written(self.path):
            self.config.write_text(settings.text, encoding="utf-8")
            if settings.hosts:
                # With a file of hosts of its own Java asks nobody else.
                known = Path("/etc/hosts")
                others = known.read_text(errors="replace") if known.exists() else ""
                (self.path / HOSTS).write_text(f"{others}\n{settings.hosts}")

    def _left_behind(self) -> list[psutil.Process]:
        """Return what lives of a server that was started in this folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if any(part in command for part in PARTS) and Path(process.cwd()).is_relative_to(self.path):
                    found.append(process)
        return found

    def last_lines(self, count: int = 25) -> str:
        """Return the last `count` lines of each log, for the operator who is told of a failure.

        Before them stand the errors of workers that were logged earlier: other workers write on meanwhile.
        """
        parts = []
        for log in (self.console, self.log):
            if log.exists() and (lines := log.read_text(encoding="utf-8", errors="replace").splitlines()):
                errors = [line for line in lines[:-count] if _ERROR.search(line)]
                parts += [f"--- {log}", *errors[-_ERRORS:], *lines[-count:]]
        return "\n".join(parts)


class TorchServe:
    """A running TorchServe: its launcher, the Java front end, the workers, in a session of their own."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        store: Path,
        models: Iterable[tuple[str, str]],
        workers: int,
        log_config: Path,
        java: Java,
    ) -> None:
        """Start the server on `folder.config`, with the archives of `models` (name, archive in `store`).

        `workers` says how many share the cores, as `folder.config` does.

        It is up only some seconds later, and the workers later still.
        """
        command = [
            # -P: neither the current folder nor that of a script is searched for modules.
            *(sys.executable, "-P", "-m", "ts.model_server", "--start", "--foreground", "--ncs"),
            *("--ts-config", str(folder.config), "--model-store", str(store.resolve())),
            *("--log-config", str(log_config.resolve()), "--enable-model-api"),
            # Known before the first port opens: a caller who comes back after a crash is told to wait for a
            # worker, and not that there is no such model.
            *("--models", *(f"{name}={archive}" for name, archive in models)),
        ]
        environment = {
            **passed_on(),
            "TMPDIR": str(folder.temp),
            "TEMP": str(folder.temp),
            "LOG_LOCATION": str(folder.logs),
            "METRICS_LOCATION": str(folder.logs),
            "BABELCLIP_WORKERS": str(workers),
        }
        if java.home is not None:
            environment["JAVA_HOME"] = str(java.home)
        with _written(folder.path), folder.console.open("w") as console:
            self._launcher = subprocess.Popen(
                command,
                cwd=folder.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, and the end is in order
            )

    def running(self) -> bool:
        """Whether the server's process lives; when it does not, the server has crashed or never started."""
        return self._launcher.poll() is None

    def stop(self) -> None:
        """End the server and everything it started: asked first, killed after 20 seconds."""
        end(self._processes)

    def _processes(self) -> list[psutil.Process]:
        """Return what lives of the server's session; workers stay in it when the front end dies."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self._launcher.pid:
                    found.append(process)
        return found


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Say of a folder that cannot be written to what to do."""
    try:
        yield
    except OSError as problem:
        raise LaunchError(
            f"cannot write to {problem.filename or folder}: {problem.strerror}; choose another folder"
            " with --run-dir"
        ) from problem


def end(find: Callable[[], list[psutil.Process]]) -> None:
    """End the processes that `find` returns until it returns none: asked first, killed after 20 seconds."""
    asked: set[int] = set()
    give_up = time.monotonic() + STOP_SECONDS
    while (found := _alive(find())) and time.monotonic() < give_up:
        # Java ends its workers in order and the launcher ends with it; the others are asked only
        # where Java is gone.
        for process in [one for one in found if _name(one) == "java"] or found:
            if process.pid not in asked:
                asked.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    process.terminate()
        psutil.wait_procs(found, timeout=0.2)
    killed = _alive(find())
    for process in killed:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(killed, timeout=STOP_SECONDS)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended; one that has, and that nobody has asked for, is not alive."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
