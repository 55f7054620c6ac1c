"""What a camera notes beside the pixels: when it was, and which side is up.

The notes are bytes from outside: what does not fit is taken as not noted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

EXIF_IFD = 0x8769
"""Where the camera's own notes begin."""
_ORIENTATION = 0x0112
# When it was taken, digitised and last changed: the time, its zone, and the part of the second.
_TIMES = ((0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292), (0x0132, 0x9010, 0x9290))
_TIME = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)
_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)


def orientation_of(notes: Mapping[int, Any]) -> int:
    """From 1, upright, to 8, as EXIF numbers them."""
    value = notes.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def taken_at(notes: Mapping[int, Any]) -> float | None:
    """Seconds since 1970 (UTC); None where the notes do not say. A time without a zone is taken as UTC."""
    for time, zone, part in _TIMES:
        found = _seconds(_text(notes.get(time)), _text(notes.get(zone)), _text(notes.get(part)))
        if found is not None:
            return found
    return None


def _seconds(time: str, zone: str, part: str) -> float | None:
    match, offset = _TIME.match(time), _ZONE.fullmatch(zone)
    if match is None:
        return None
    at = UTC
    if offset is not None:
        minutes = 60 * int(offset[2]) + int(offset[3])
        if minutes < 24 * 60:
            at = timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        seconds = datetime(year, month, day, hour, minute, second, tzinfo=at).timestamp()
    except (ValueError, OverflowError):  # A camera whose clock was never set notes the year 0.
        return None
    fraction = float(f"0.{part}") if part.isascii() and part.isdigit() else 0.0
    return seconds + fraction if math.isfinite(seconds) else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip(" \0") if isinstance(value, str) else ""
