"""A process that scripts/serve runs: its lines are passed on, one says that it is up, and it ends with us."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any

from serving import LaunchError


class ChildFailed(Exception):
    """A process did not come up, or not succeed, and has said why."""


class Child:
    """A process in a session of its own, so that Ctrl-C reaches this one alone and the end is in order.

    Its standard input is a pipe that ends with this process, however that ends: it then ends too.

    Attributes:
        name: for people.
        facts: what it said of itself when it was up; None before.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        announces: str = "",
        say: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            announces: how the line begins that says, in JSON, that it is up; with "" it says nothing of
                itself, and counts as up at once.
            say: is told every other line.
        """
        self.name = name
        self.facts: dict[str, Any] | None = None if announces else {}
        self._announces, self._say = announces, say
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                if self._announces and line.startswith(self._announces):
                    self.facts = json.loads(line.removeprefix(self._announces))
                else:
                    self._say(line.rstrip("\n"))

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ChildFailed: it did not come up.
            LaunchError: it has ended; the message says how.
        """
        status = self._process.poll()
        if status is None:
            return
        if status > 0 and self.facts is None:
            raise ChildFailed
        raise LaunchError(f"{self.name} {how_it_ended(status)}, and all else with it")

    def stop(self, seconds: float) -> None:
        """Ask it to end; kill it after that many seconds."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._say(f"serve: {self.name} did not end within {seconds:.0f} seconds and is killed")
            self._process.kill()
            self._process.wait()
        self._reading.join(seconds)
        assert self._process.stdin is not None
        self._process.stdin.close()


def how_it_ended(status: int) -> str:
    """A process's exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # A signal without a name of its own.
        return f"was ended by signal {-status}"
