"""The processes that scripts/serve runs: what they say, how they end, and what is said of that."""

import signal
import sys
import threading

import pytest

from serving import LaunchError
from serving.child import Child, ChildFailed, how_it_ended
from tests.e2e.support import PATIENCE

# Says that it is up, and ends when its standard input does.
WAITING = "print('hello'); print('up: {\"port\": 1}', flush=True); import sys; sys.stdin.read(); print('bye')"


def child(code: str, lines: list[str], said: threading.Event) -> Child:
    """Python that runs `code`; `said` is set by a line `hello`."""

    def say(line: str) -> None:
        lines.append(line)
        if line == "hello":
            said.set()

    return Child("the child", [sys.executable, "-u", "-c", code], announces="up: ", say=say)


def wait_up(one: Child) -> None:
    """Wait until it has said that it is up."""
    while one.facts is None:
        one.check()


def test_lines_are_passed_on_and_one_says_that_it_is_up() -> None:
    """The operator reads what a child says, but for the line that is meant for programs."""
    lines: list[str] = []
    one = child(WAITING, lines, threading.Event())
    wait_up(one)
    assert one.facts == {"port": 1}
    one.check()
    one.stop(PATIENCE)
    assert lines == ["hello"]
    with pytest.raises(LaunchError, match="the child was ended by SIGTERM, and all else with it"):
        one.check()


def test_one_that_does_not_come_up_has_said_why() -> None:
    """Its own sentence is the only one."""
    one = child("import sys; sys.exit(3)", [], threading.Event())
    with pytest.raises(ChildFailed):
        wait_up(one)
    one.stop(PATIENCE)


def test_one_that_does_not_end_is_killed() -> None:
    """A stop ends, whatever a child does."""
    lines: list[str] = []
    said = threading.Event()
    ignoring = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('hello'); time.sleep(900)"
    )
    one = child(ignoring, lines, said)
    assert said.wait(PATIENCE)
    one.stop(0.01)
    assert lines[1:] == ["serve: the child did not end within 0 seconds and is killed"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (0, "ended with status 0"),
        (1, "ended with status 1"),
        (-signal.SIGKILL, "was ended by SIGKILL"),
        (-60, "was ended by signal 60"),
    ],
)
def test_the_end_of_a_process_in_words(status: int, says: str) -> None:
    """An operator need not know the numbers of signals."""
    assert how_it_ended(status) == says
