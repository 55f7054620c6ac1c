"""The binary tensor extension of the Open Inference Protocol: JSON, and the bytes of tensors behind it.

The header Inference-Header-Content-Length says how long the JSON is. A tensor whose parameters have
`binary_data_size` has that many of the bytes behind it, in the order of the tensors. An element of a BYTES
tensor is its length as a little-endian uint32 and then its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gateway.errors import malformed

HEADER = "Inference-Header-Content-Length"


def split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """A body and that header (None for none) → the JSON, and what is behind it.

    Raises:
        ApiError: the header is no number of bytes that the body has.
    """
    if header is None:
        return body, memoryview(b"")
    if not (header.isascii() and header.isdecimal()) or len(header) > 18 or int(header) > len(body):
        raise malformed(f"{HEADER} must be the number of bytes of JSON at the beginning of the body")
    length = int(header)
    return body[:length], memoryview(body)[length:]


def read_elements(data: memoryview, count: int, name: str) -> list[bytes]:
    """The bytes of a BYTES tensor of `count` elements → the elements.

    Raises:
        ApiError: they hold more or fewer elements, or end within one; `name` is the tensor's.
    """
    found: list[bytes] = []
    place = 0
    while place < len(data) and len(found) < count:
        if place + 4 > len(data):
            raise malformed(f'the bytes of "{name}" end within the length of element {len(found)}', name)
        (length,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + length > len(data):
            raise malformed(f'the bytes of "{name}" end within element {len(found)}', name)
        found.append(bytes(data[place : place + length]))
        place += length
    if len(found) != count or place != len(data):
        held = f"more than {count:,}" if place != len(data) else f"{len(found):,}"
        raise malformed(f'the bytes of "{name}" hold {held} elements; its shape says {count:,}', name)
    return found


def write_elements(elements: Iterable[bytes]) -> bytes:
    """The bytes of a BYTES tensor of these elements."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)
