"""What a client of HTTP/2 sends first, up to its acknowledgement of the server's settings, and a bound on it.

gRPC keeps its bounds on a call's head (8 to 16 kB unpacked) from that acknowledgement on. Before it, and so
for ever where a client never sends it, a head may unpack to 16 MB by HPACK's references of one byte each, and
costs the server some 200 times the bytes that were sent.
"""

from __future__ import annotations

MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a connection begins with (RFC 9113, section 3.4)."""

MOST_HEAD_BYTES = 64 * 1024
"""Of the heads of all calls before the acknowledgement, packed. Most clients send it before any call."""

_FRAME = 9  # bytes of a frame before its payload
_HEADERS, _SETTINGS, _CONTINUATION = 1, 4, 9
_ACK = 1


class Preface:
    """One connection's.

    Attributes:
        begun: the client speaks HTTP/2.
        acknowledged: the client has acknowledged settings; what comes behind is not looked at.
    """

    def __init__(self, most_head_bytes: int = MOST_HEAD_BYTES) -> None:
        self.begun = False
        self.acknowledged = False
        self._most = most_head_bytes
        self._magic = MAGIC
        self._frame = bytearray()
        self._payload = 0
        self._heads = 0

    def take(self, data: bytes) -> bool:
        """Further bytes of the client; False if the connection is to be closed for them."""
        position = min(len(data), len(self._magic))
        if data[:position] != self._magic[:position]:
            return False
        self._magic = self._magic[position:]
        self.begun = not self._magic
        while position < len(data) and not self.acknowledged:
            if self._payload:
                skipped = min(self._payload, len(data) - position)
                self._payload -= skipped
                position += skipped
                continue
            missing = _FRAME - len(self._frame)
            self._frame += data[position : position + missing]
            position += missing
            if len(self._frame) == _FRAME and not self._begin_frame():
                return False
        return True

    def _begin_frame(self) -> bool:
        self._payload = int.from_bytes(self._frame[:3])
        kind, flags = self._frame[3], self._frame[4]
        self._frame.clear()
        if kind == _SETTINGS and flags & _ACK:
            self.acknowledged = True
        elif kind in (_HEADERS, _CONTINUATION):
            self._heads += self._payload
        return self._heads <= self._most
