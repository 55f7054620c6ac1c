"""The size of a JPEG XL file, read before its decoder sees it: the decoder decodes when it opens a file.

By ISO/IEC 18181-1 and -2: a codestream begins with its size, packed in bits, and stands alone or in boxes.
"""

from __future__ import annotations

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# Width to height, where the size header names a proportion instead of a width.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_LENGTHS = (9, 13, 18, 30)  # bits of a side
_HEADER = 16  # bytes that hold any size header


def is_jpeg_xl(data: bytes) -> bool:
    """Whether the bytes begin as a JPEG XL file does."""
    return data.startswith((CODESTREAM, CONTAINER))


def read_size(data: bytes) -> tuple[int, int]:
    """Bytes of a JPEG XL file → (width, height) of its picture, before it is turned upright.

    Raises:
        EOFError: the file ends before its size.
        ValueError: there is no codestream in it.
    """
    bits = _Bits(_codestream(data))
    small = bits.read(1)
    height = _side(bits, small)
    ratio = bits.read(3)
    if ratio == 0:
        return _side(bits, small), height
    across, down = _RATIOS[ratio]
    return height * across // down, height


def _side(bits: _Bits, small: int) -> int:
    return 8 * (1 + bits.read(5)) if small else 1 + bits.read(_LENGTHS[bits.read(2)])


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, after its signature."""
    if data.startswith(CONTAINER):
        data = _in_boxes(data)
    if not data.startswith(CODESTREAM):
        raise ValueError("no JPEG XL codestream")
    return data[len(CODESTREAM) : len(CODESTREAM) + _HEADER]


def _in_boxes(data: bytes) -> bytes:
    place = 0
    while place + 8 <= len(data):
        length, kind, begin = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if length == 1:
            length, begin = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            begin += 4 if kind == b"jxlp" else 0  # The number of the part comes first.
            return data[place + begin : place + begin + len(CODESTREAM) + _HEADER]
        if length < begin:  # 0: the last box.
            break
        place += length
    raise EOFError("no box holds the codestream")


class _Bits:
    """Numbers of a few bits each, the lowest bit of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise EOFError("the size is cut off")
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return number
