"""A share of sessions that a candidate version serves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class TrafficSplit:
    """A share of sessions that a candidate serves: the same ones each time, by a hash of their key.

        client = Client(url, version=TrafficSplit("2.0", share=0.05).version_for(user_id))

    A session stays in one embedding space, whichever version it gets.
    """

    version: str
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be from 0 to 1, not {self.share}")

    def version_for(self, key: str) -> str | None:
        """The candidate's version for `share` of all keys, None for the others, which means the default one.

        A key that has the candidate keeps it when the share grows.
        """
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return self.version if int.from_bytes(digest[:8], "big") < self.share * 2**64 else None
