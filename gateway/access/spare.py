"""Whether a call is part of work that no caller waits for, such as the copies for a candidate."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Spare:
    """Such work. It has its turns at a tower while no caller waits for one.

    Attributes:
        waited: seconds in which it had no turn.
    """

    waited: float = 0.0


SPARE: ContextVar[Spare | None] = ContextVar("spare", default=None)
"""What the present call is part of; None where a caller waits for it."""
