"""Workers that end while they start, read from TorchServe's log.

TorchServe starts a worker that has ended again, for minutes, and its management address does not tell: a
worker that ends before it has said its process id leaves no trace there. The log has a line for each end, and
what the worker itself printed. TorchServe reads that beside, so a worker's last lines, which say why, may
stand after the line of its end; they are complete when both of its streams are closed. On a busy machine
TorchServe may close them before it has read them: then the next end tells.
"""

import re
from collections import Counter, defaultdict, deque
from pathlib import Path

from serving import LaunchError

# One end of a worker may be an accident, such as a moment without memory; a second one at the start is none.
FATAL = 2
SILENT = 5  # ends of a worker of which TorchServe never read why
SHOWN = 25  # lines of a worker
STREAMS = 2  # standard output and standard error
# What a worker says before it loads its model.
_LOADS = re.compile(r"model_name: .*, batchSize: \d+")
# 2026-01-02T03:04:05,678 INFO  W-9000-text_1.0 WorkerThread - Retry worker: 9000 in 1 seconds.
_LINE = re.compile(r"\S+ [A-Z]+ +(W-\d+-(.+?)_(.+?))(-stdout|-stderr)? \S+ - (.*)")


class WorkerLost(LaunchError):
    """A worker ends again and again; the message says what it printed itself."""


class StartingWorkers:
    """What the workers of one start have said and how often each has ended, up to now."""

    def __init__(self, log: Path) -> None:
        """`log` is written to by the log4j2.xml of this repository; what it already holds is of earlier."""
        self._log = log
        self._read_to = log.stat().st_size if log.exists() else 0
        self._ends: Counter[str] = Counter()
        self._closed: Counter[str] = Counter()
        self._said: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=SHOWN))

    def check(self) -> None:
        """Read what was logged since the last time.

        Raises:
            WorkerLost: a worker has ended for the second time, and all that it printed is read; the message
                has its last lines.
        """
        for line in self._new_lines():
            if (found := _LINE.fullmatch(line)) is None:
                continue
            worker, model, version, stream, text = found.groups()
            if text.startswith("Stopped Scanner"):
                self._closed[worker] += 1
            elif stream:
                self._said[worker].append(text)
            elif text.startswith("Retry worker: "):
                self._ends[worker] += 1
            ends, lines = self._ends[worker], self._said[worker]
            fatal = SILENT if lines and _LOADS.fullmatch(lines[-1]) else FATAL
            # A process that the worker has left behind may keep a stream open: then the next end decides.
            if ends > fatal or (ends == fatal and self._closed[worker] >= STREAMS * ends):
                said = "\n".join(lines) or "(nothing)"
                raise WorkerLost(
                    f"{model} {version} cannot be loaded: its worker has ended {ends} times while it"
                    f" started. It printed last:\n{said}\n--- {self._log}"
                )

    def _new_lines(self) -> list[str]:
        """The lines that are complete by now."""
        if not self._log.exists():
            return []
        with self._log.open("rb") as log:
            # A log that has become too large is renamed, and begins anew.
            log.seek(self._read_to if log.seek(0, 2) >= self._read_to else 0)
            start = log.tell()
            content = log.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._read_to = start + len(complete)
        return complete.decode(errors="replace").splitlines()
