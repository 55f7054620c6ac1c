"""How a generation's vectors are searched: the method, its parameters, and the recall that they give."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

FLAT_BELOW = 10_000
"""Rows that are searched one by one: so few take a few milliseconds, and none is missed."""

PARTITION_ROWS = 1024
MOST_COMPARED = 5000
"""Rows that are compared by their own vectors at the end, unless more are asked for: each is read for it."""

WIDE = 1000
"""Rows by whose recall it is measured how many more partitions more rows take, or those of a filter."""

_ROOM = 4  # times the rows that are wanted are in the partitions that are looked into
_POWER = 0.5  # where it was not measured: more than it ever was

GROWTH = 2.0  # times the rows that the partitions were made for: then they are made anew


@dataclass(frozen=True)
class Structure:
    """IVF: partitions of near vectors, of which a search looks into a few.

    Attributes:
        method: the engine's name of it, in small letters.
        rows: that it was built for.
        partitions: how many there are.
        bits: of a value of a vector in the structure; 0 where it holds the vectors themselves.
        probes: partitions that a search looks into.
        refine: times as many rows as asked for are compared by their own vectors at the end.
        recall_at_10: on a sample of queries; None until it was measured.
        measured_rows: the rows that there were then.
        wide_probes: partitions that the nearest `WIDE` rows take; 0 where that was not measured.
    """

    method: str
    rows: int
    partitions: int
    bits: int
    probes: int
    refine: int
    recall_at_10: float | None = None
    measured_rows: int = 0
    wide_probes: int = 0

    @classmethod
    def for_rows(cls, method: str, rows: int, bits: int) -> Structure:
        """What to build for that many rows, and where to begin with the measuring."""
        partitions = max(1, round(rows / PARTITION_ROWS))
        return cls(method, rows, partitions, bits, probes=min(partitions, 16), refine=2)

    @classmethod
    def from_json(cls, text: str) -> Structure | None:
        """What `to_json` wrote; None of an empty text."""
        return cls(**json.loads(text)) if text else None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def parameters(self) -> dict[str, Any]:
        """As `IndexInfo` gives them."""
        return {name: getattr(self, name) for name in ("partitions", "bits", "probes", "refine")}

    def outgrown(self, rows: int) -> bool:
        """Whether there are too many rows for the partitions by now."""
        return rows > GROWTH * self.rows

    def effort_for(self, wanted: int, share: float = 1.0) -> tuple[int, int]:
        """Probes and refining for that many rows: what was measured for 10, more probes for more.

        The same for 11 as for 100, and so on, so that pages of a ranking fit together. Between what was
        measured for 10 and for `WIDE`, and beyond, probes grow as a power of the rows.

        Args:
            share: of the rows, which a filter keeps: the nearest 10 of a hundredth are among the nearest
                1,000 of all, as long as what the filter asks has nothing to do with the vectors.
        """
        level = 10 ** max(1, math.ceil(math.log10(wanted)))
        among = level / max(share, 1e-9)
        needed = _ROOM * among * self.partitions / max(1, self.rows)
        power = _POWER
        if self.wide_probes:
            power = math.log(max(1.0, self.wide_probes / self.probes)) / math.log(WIDE / 10)
        probes = min(self.partitions, math.ceil(max(self.probes * (among / 10) ** power, needed)))
        compared = level * max(1, min(self.refine, MOST_COMPARED // level))
        return probes, math.ceil(compared / wanted)
