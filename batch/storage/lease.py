"""A lock in an object store, which knows no locks: who holds it says so again and again.

Each holder has a number in the folder `.lock`, one more than the last; only one can create the next. It
renews its object while it lives, and marks it when it ends. Whoever finds the newest one neither marked nor
renewed for `LOST_AFTER` seconds takes its holder for dead and creates the next number. Time is that of the
one who waits: no clocks are compared.

It keeps two jobs from doing the same work. Should both write nevertheless, as when one was stopped for a
while, no row is wrong: an object is there as a whole, and the same shard gives the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from batch.storage.base import StorageBusy
from batch.storage.objects import Objects

EVERY = 5.0  # seconds between two renewals
LOST_AFTER = 30.0  # seconds without one
_LOOKS = 1.0  # seconds between two looks at a holder that may be dead
_FOLDER = ".lock"
_NAME = re.compile(r"(\d{10})\.json")


class Lease:
    """One that is not held yet."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._holder = {"holder": uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
        self._number = 0
        self._renewals = 0
        self._lost = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self, say: Callable[[str], None]) -> None:
        """Hold it until `give_back`, or until the process ends.

        Raises:
            StorageBusy: somebody else does.
            OSError: the store cannot be asked.
        """
        newest = self._newest()
        if newest:
            self._wait_for_its_end(newest, say)
        self._number = newest + 1
        if not self._objects.create(_name(self._number), self._text()) or self._newest() != self._number:
            raise StorageBusy(self._busy("another job began at the same time"))
        for number in self._numbers():
            if number < self._number:
                self._objects.remove(_name(number))
        self._thread.start()

    def check(self) -> None:
        """Whether it is still held.

        Raises:
            StorageBusy: somebody else has taken it.
        """
        if self._lost:
            raise StorageBusy(self._lost)

    def give_back(self) -> None:
        """Let the next one have it at once; where the store cannot be told, it will have to wait."""
        self._end.set()
        self._thread.join()
        if not self._lost:
            with suppress(OSError):
                self._objects.put(_name(self._number), self._text(ended=True))

    def _wait_for_its_end(self, number: int, say: Callable[[str], None]) -> None:
        before = self._objects.read(_name(number))
        end = time.monotonic() + LOST_AFTER
        while before is not None and not _read(before).get("ended"):
            if time.monotonic() > end:
                return
            if time.monotonic() > end - LOST_AFTER + EVERY:
                say(f"{_who(before)} has left a lock: waiting {LOST_AFTER:.0f} s to see whether it is alive")
                say = _nobody
            time.sleep(_LOOKS)
            now = self._objects.read(_name(number))
            if now is not None and now != before and not _read(now).get("ended"):
                raise StorageBusy(self._busy(f"{_who(now)} holds its lock"))
            before = now

    def _renew(self) -> None:
        while not self._end.wait(EVERY):
            try:
                found = self._objects.read(_name(self._number))
                if self._newest() > self._number or found is None or self._is_anothers(found):
                    self._lost = self._busy("it was taken for dead")
                    return
                self._renewals += 1
                self._objects.put(_name(self._number), self._text())
            except OSError:
                continue  # The store may answer next time; what is written meanwhile is not wrong.

    def _is_anothers(self, found: bytes) -> bool:
        return _read(found).get("holder") != self._holder["holder"]

    def _numbers(self) -> list[int]:
        names = map(_NAME.fullmatch, self._objects.names(_FOLDER))
        return [int(match[1]) for match in names if match]

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _text(self, *, ended: bool = False) -> bytes:
        return json.dumps({**self._holder, "renewals": self._renewals, "ended": ended}).encode()

    def _busy(self, why: str) -> str:
        where = self._objects.address
        return f"another job writes to {where} ({why}): wait for it, or give another folder"


def _name(number: int) -> str:
    return f"{_FOLDER}/{number:010d}.json"


def _read(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _who(data: bytes) -> str:
    found = _read(data)
    return f"process {found.get('process', '?')} of {found.get('host', '?')}"


def _nobody(said: str) -> None:
    """Hears what was said before."""
