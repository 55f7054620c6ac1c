"""Head and body of an answer in one packet: one call of the system, and a caller that wakes once."""

from __future__ import annotations

import asyncio
from typing import Any


class JoinedWrites:
    """A transport over another one, which keeps what is written until the next write or the loop's next turn.

    uvicorn writes the head of an answer and then its body, and each would be sent by itself. No more than one
    write is kept, so that the transport below tells as before when its reader is slow.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept: bytes | None = None
        # What else is asked of a transport.
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Bytes that follow those of before."""
        if self._kept is None:
            self._kept = data
            self._loop.call_soon(self._send)
        else:
            kept, self._kept = self._kept, None
            if not self._transport.is_closing():
                self._transport.writelines([kept, data])

    def close(self) -> None:
        """Close the connection once all that was written is sent."""
        self._send()
        self._transport.close()

    def set_protocol(self, protocol: Any) -> None:
        """Who is told what arrives."""
        self._transport.set_protocol(protocol)

    def _send(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None and not self._transport.is_closing():
            self._transport.write(kept)
