"""Answers that are sent whole: what is written in one turn is joined, in order, and nothing stays behind."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.http.joined_writes import JoinedWrites


class Transport(asyncio.Transport):
    """Notes what is sent together."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[list[bytes]] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append([bytes(data)])

    def writelines(self, list_of_data: object) -> None:
        assert isinstance(list_of_data, list)
        self.sent.append(list_of_data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


def sent(work: Callable[[JoinedWrites], None]) -> Transport:
    """The transport below after `work`, and after the loop's next turn."""

    async def main() -> Transport:
        below = Transport()
        work(JoinedWrites(below, asyncio.get_running_loop()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return below

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([b"head", b"body"], [[b"head", b"body"]]),
        ([b"alone"], [[b"alone"]]),
        ([b"1", b"2", b"3"], [[b"1", b"2"], [b"3"]]),
    ],
)
def test_what_is_written_together_is_sent_together(written: list[bytes], expected: list[list[bytes]]) -> None:
    """A caller wakes once for an answer, and gets all of it in order."""

    def work(transport: JoinedWrites) -> None:
        for data in written:
            transport.write(data)

    assert sent(work).sent == expected


def test_a_connection_that_is_closed_sends_what_was_written_before() -> None:
    """The last answer of a connection is not lost."""

    def work(transport: JoinedWrites) -> None:
        transport.write(b"the last")
        transport.close()

    below = sent(work)
    assert (below.sent, below.closed) == ([[b"the last"]], True)


def test_nothing_is_sent_on_a_connection_that_was_broken_off() -> None:
    """What was kept for a caller who is cut off is thrown away."""

    def work(transport: JoinedWrites) -> None:
        transport.write(b"too late")
        transport.abort()

    assert sent(work).sent == []
