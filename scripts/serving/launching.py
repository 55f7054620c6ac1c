"""What a launcher does around its work: lines for the operator, and signals that ask it to end."""

import contextlib
import io
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from serving import LaunchError
from serving.child import ChildFailed


class Stopped(Exception):
    """Somebody asked for the end before all was ready."""


def say(message: str) -> None:
    """Print a line for the operator at once: whoever reads through a pipe waits for the last one."""
    with contextlib.suppress(OSError):  # The terminal is closed, or nobody reads the pipe any more.
        print(message, flush=True)


def show_any_letter() -> None:
    """From now on a path may hold letters that the terminal has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and the end of the terminal set."""
    stop = threading.Event()

    def ask_to_stop(signal_number: int, frame: FrameType | None) -> None:
        stop.set()

    for expected in (signal.SIGINT, signal.SIGTERM):
        signal.signal(expected, ask_to_stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Under nohup a closed terminal ends nothing.
        signal.signal(signal.SIGHUP, ask_to_stop)
    return stop


def exit_status(name: str, work: Callable[[], object]) -> int:
    """Do the work of a launcher; return its exit status, after a line that says why it ended or failed."""
    try:
        work()
    except Stopped:
        say(f"{name}: stopped")
    except ChildFailed:
        return 1
    except LaunchError as problem:
        print(f"{name}: {problem}", file=sys.stderr, flush=True)
        return 1
    return 0
