"""What is sent back for a request, and how vectors are written in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.errors import PHRASE, ItemFault
from handlers.outcomes import Embedded, Outcome


@dataclass(frozen=True)
class Answer:
    """What TorchServe sends back for one request."""

    body: bytes
    content_type: str
    status: int = 200

    @property
    def phrase(self) -> str:
        """The reason phrase of the status line."""
        return PHRASE[self.status]


def json_row(vector: NDArray[np.float32]) -> str:
    """A vector as a JSON list whose numbers give back exactly its float32 values.

    Nine digits do; formatting a whole row takes a quarter of the time of json.dumps, which would also write
    each float32 with the seventeen digits of a float64.
    """
    return ("[" + ",".join(["%.9g"] * len(vector)) + "]") % tuple(vector.tolist())


def truncated(outcomes: Sequence[Outcome]) -> list[int]:
    """The items among a request's that were cut, ascending."""
    return [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Embedded) and outcome.truncated]


def unknown(outcomes: Sequence[Outcome]) -> list[int]:
    """The texts among a request's that the tokenizer does not know, or knows in part, ascending."""
    return [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Embedded) and outcome.unknown]


def json_errors(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """The failed items among a request's, by ascending index."""
    return [
        {"index": index, "code": outcome.code, "message": outcome.message}
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, ItemFault)
    ]


def compact(value: object) -> str:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
