"""base64 as it occurs: in lines, with the alphabet of URLs, without its padding, in a data URI.

`base64 FILE` breaks lines after 76 characters and ends with a line break; browsers and tokens use `-` and
`_`; some encoders leave the `=` out. The bytes are never in doubt. Anything else is not base64.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote

_URI = re.compile(r"\s*data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)


@dataclass(frozen=True)
class DataUri:
    """A data URI (RFC 2397)."""

    kind: str
    """Its media type, lower case, without parameters; "" where it names none."""
    base64: bool
    data: str
    """What follows the comma, its percent signs undone."""


def read_data_uri(text: str) -> DataUri | None:
    """A text → its data URI, None where it is none; parameters such as charset are ignored."""
    found = _URI.match(text)
    if found is None:
        return None
    data = text[found.end() :]
    parameters = [parameter.strip().lower() for parameter in found[2].split(";")]
    return DataUri(
        kind=found[1].strip().lower(),
        base64=parameters[-1] == "base64",
        data=unquote(data) if "%" in data else data,
    )


def decode(encoded: str) -> bytes | None:
    """base64 without white space → its bytes; None where it is not base64.

    The standard alphabet or that of URLs, but not both at once; padding as it should be, or none at all.
    """
    if "-" in encoded or "_" in encoded:
        if "+" in encoded or "/" in encoded:
            return None
        encoded = encoded.replace("-", "+").replace("_", "/")
    if "=" not in encoded:
        encoded += "=" * (-len(encoded) % 4)
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # binascii.Error is one; so is the error of a string that is not ASCII.
        return None
