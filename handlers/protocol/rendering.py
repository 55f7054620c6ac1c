"""What is sent back for one request, and how vectors and errors are written in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.errors import PHRASE, ItemError
from handlers.outcomes import Embedding, Outcome


@dataclass(frozen=True)
class Response:
    """What TorchServe sends back for one request."""

    body: bytes
    content_type: str
    status: int = 200

    @property
    def phrase(self) -> str:
        """The reason phrase of the status line."""
        return PHRASE[self.status]


def json_row(vector: NDArray[np.float32]) -> str:
    """A vector → a JSON list whose numbers give back exactly its float32 values.

    Nine digits are enough. Formatting a whole row takes a quarter of the time of json.dumps, which would also
    write each float32 with the seventeen digits of a float64.
    """
    return ("[" + ",".join(["%.9g"] * len(vector)) + "]") % tuple(vector.tolist())


def json_rows(outcomes: Sequence[Outcome]) -> str:
    """The vectors of a request's items, in its order, separated by commas; null for an item that failed."""
    return ",".join("null" if isinstance(o, ItemError) else json_row(o.vector) for o in outcomes)


def truncated(outcomes: Sequence[Outcome]) -> list[int]:
    """The items of a request that were cut, ascending."""
    return [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Embedding) and outcome.truncated]


def unknown(outcomes: Sequence[Outcome]) -> list[int]:
    """The texts of a request that the tokenizer does not know, or knows only in part, ascending."""
    return [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Embedding) and outcome.unknown]


def tokens(outcomes: Sequence[Outcome]) -> list[int]:
    """How many tokens each text of a request has, in its order; 0 for one that failed."""
    return [outcome.tokens if isinstance(outcome, Embedding) else 0 for outcome in outcomes]


def json_errors(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """The items of a request that failed, by ascending index."""
    return [
        {"index": index, "code": outcome.code, "message": outcome.message}
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, ItemError)
    ]


def compact(value: object) -> str:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
