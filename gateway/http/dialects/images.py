"""Images as JSON holds them: base64, alone or in a data URI, or an address, which `gateway.fetch` judges."""

from __future__ import annotations

import binascii
import re

import pybase64

from babelclip import ItemError
from gateway.errors import INVALID_ITEM
from gateway.fetch import image_address

_DATA_URI = re.compile(r"\s*data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
# What a browser calls a file whose kind it does not know.
_UNKNOWN_KINDS = ("", "application/octet-stream")


def is_data_uri(text: str) -> bool:
    """Whether a text is an image in a data URI, which no text to embed is."""
    found = _DATA_URI.match(text)
    return found is not None and found[1].lower().startswith("image/") and _in_base64(found)


def read(text: str) -> bytes | ItemError:
    """base64, or data:image/…;base64,… → the image's bytes, or `invalid_item`.

    Lines, the alphabet of URLs (- and _) and missing padding leave no doubt about the bytes, and are taken.
    """
    found = _DATA_URI.match(text)
    if found is not None:
        if not _in_base64(found) or not _may_be_image(found[1].strip().lower()):
            return _wrong("the data URI holds no image in base64; send data:image/…;base64,…")
        text = text[found.end() :]
    elif _ADDRESS.match(text):
        return image_address(text.strip())
    data = _decode(text)
    if data is None:
        return _wrong("the image is not valid base64")
    return data


def _in_base64(found: re.Match[str]) -> bool:
    return found[2].lower().rpartition(";")[2].strip() == "base64"


def _may_be_image(kind: str) -> bool:
    return kind.startswith("image/") or kind in _UNKNOWN_KINDS


def _decode(text: str) -> bytes | None:
    try:  # As nearly all is written; the rest has line breaks, the other alphabet, or no padding.
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    encoded = "".join(text.split())
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


def _wrong(message: str) -> ItemError:
    return ItemError(0, INVALID_ITEM, message)
