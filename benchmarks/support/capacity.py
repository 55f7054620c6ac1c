"""The highest rate of arrivals that keeps an objective, and what a target takes.

Nothing here measures: a trial is what the caller's function says of a rate.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.support.load import Outcome

LATE = 0.1  # of the objective's p99: a generator that is later than that measures itself
LOWEST = 64  # of the first rate one such part is the lowest that is tried
MOST_TRIALS = 80
HOURS_OF_A_MONTH = 730


@dataclass(frozen=True)
class Objective:
    """What callers are promised."""

    p99: float
    """Seconds, from the moment a request was due."""
    errors: float
    """Share of the requests that may fail or be refused."""


@dataclass(frozen=True)
class Trial:
    """What came of requests that arrived at a rate, an open loop."""

    rate: float
    """Offered, requests a second."""
    answered_per_s: float
    p50: float
    """Seconds; nan where nothing was answered."""
    p99: float
    errors: float
    """Share of the requests."""
    late: float = 0.0
    """Seconds by which the generator sent too late, its 99th percentile."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Errors by what the caller saw."""
    busy: float = math.nan
    """Cores that the server kept busy; nan where nobody looked."""

    def missed(self, objective: Objective) -> str:
        """Why it is missed: "p99", "errors", or "generator" for one that was too slow; "" if it is kept."""
        fast = self.p99 <= objective.p99  # nan is not
        if fast and self.errors <= objective.errors:
            return ""
        if self.late > LATE * objective.p99:
            return "generator"
        return "p99" if self.errors <= objective.errors else "errors"

    def missed_by_far(self, objective: Objective) -> bool:
        """Whether no second trial is needed to see that the rate is too high."""
        return not self.p99 <= 2 * objective.p99 or self.errors > max(0.05, 4 * objective.errors)


def trial_of(outcomes: Sequence[Outcome], rate: float, *, warm_up: float) -> Trial:
    """What an open loop measured; requests that were due in its first `warm_up` seconds are left out."""
    begin = min(outcome.start for outcome in outcomes) + warm_up
    kept = [outcome for outcome in outcomes if outcome.start >= begin] or list(outcomes)
    answered = [outcome.end - outcome.start for outcome in kept if not outcome.error]
    p50, p99 = np.percentile(answered or [math.nan], [50, 99])
    last = max(outcome.end for outcome in kept)
    return Trial(
        rate=rate,
        answered_per_s=len(answered) / max(last - min(outcome.start for outcome in kept), 1e-9),
        p50=float(p50),
        p99=float(p99),
        errors=1 - len(answered) / len(kept),
        late=float(np.percentile([outcome.late for outcome in kept], 99)),
        kinds=Counter(outcome.error.partition(":")[0] for outcome in kept if outcome.error),
    )


class UnsteadyError(Exception):
    """Trials of the same rate contradict each other again and again."""


@dataclass(frozen=True)
class Found:
    """The highest rate that keeps the objective."""

    rate: float
    """Requests a second; 0 where none does."""
    confirmed: tuple[Trial, ...]
    """The trials at that rate which kept it."""
    limit: str
    """What is missed above it, as `Trial.missed` says; "" where the highest allowed rate is kept."""


class Search:
    """Looks for the highest rate; `trials` are all that were made, in their order.

    The rate is doubled until the objective is missed, then bisected until two rates are within `precision`
    (0.05: 5 %) of each other. The lower must keep the objective in `confirmations` further trials, or the
    search goes on below it. One trial that misses it narrowly is tried once more: a hiccup of the machine
    is not the server's limit.
    """

    def __init__(
        self,
        measure: Callable[[float], Trial],
        objective: Objective,
        *,
        precision: float = 0.05,
        confirmations: int = 2,
        most: float = math.inf,
    ) -> None:
        self._measure = measure
        self._objective = objective
        self._precision = precision
        self._confirmations = confirmations
        self._most = most
        self.trials: list[Trial] = []

    def run(self, first: float) -> Found:
        """Search from the rate `first` on.

        Raises:
            UnsteadyError: after MOST_TRIALS trials there is still no answer.
        """
        first = min(first, self._most)
        low, high = self._bracket(first)
        while low and not self._confirmed(low):
            high = low
            low = self._bisect(self._kept_below(high, first), high)
        if not low:
            return Found(0.0, (), self._limit_above(0.0))
        kept = tuple(t for t in self.trials if t.rate == low and not t.missed(self._objective))
        return Found(low, kept, self._limit_above(low))

    def _bracket(self, first: float) -> tuple[float, float]:
        """A rate that is kept, 0 where none is, and one near above it that is not."""
        rate = first
        if self._keeps(rate):
            while rate < self._most:
                higher = min(2 * rate, self._most)
                if not self._keeps(higher):
                    return self._bisect(rate, higher), higher
                rate = higher
            return rate, math.inf
        return self._bisect(self._kept_below(rate, first), rate), rate

    def _kept_below(self, high: float, first: float) -> float:
        """A rate below `high` that is kept, by halves; 0 if there is none down to a part of the first."""
        rate = high / 2
        while rate >= first / LOWEST:
            if self._keeps(rate):
                return rate
            rate /= 2
        return 0.0

    def _bisect(self, low: float, high: float) -> float:
        """The highest rate that is kept between one that is and one that is not, to the precision."""
        while low and high / low > 1 + self._precision:
            middle = math.sqrt(low * high)
            if self._keeps(middle):
                low = middle
            else:
                high = middle
        return low

    def _keeps(self, rate: float) -> bool:
        trial = self._try(rate)
        if not trial.missed(self._objective):
            return True
        return not trial.missed_by_far(self._objective) and not self._try(rate).missed(self._objective)

    def _confirmed(self, rate: float) -> bool:
        return all(self._keeps(rate) for _ in range(self._confirmations))

    def _try(self, rate: float) -> Trial:
        if len(self.trials) >= MOST_TRIALS:
            raise UnsteadyError(
                f"{MOST_TRIALS} trials gave no answer: server or machine is not steady; try longer trials"
            )
        self.trials.append(self._measure(rate))
        return self.trials[-1]

    def _limit_above(self, rate: float) -> str:
        """What was missed at the lowest rate above this one; the last trial there tells."""
        missed = [
            (t.rate, -n, t) for n, t in enumerate(self.trials) if t.rate > rate and t.missed(self._objective)
        ]
        return min(missed)[2].missed(self._objective) if missed else ""


@dataclass(frozen=True)
class Plan:
    """What a target takes, if each replica does what the one that was measured does."""

    replicas: int
    """With the spare ones."""
    cores: float | None
    """None where those of a replica are not known."""
    per_hour: float | None
    """None without a price or cores, as the next ones."""
    per_month: float | None
    per_million: float | None
    """For a million requests, if the target's rate is there all the time."""


def plan(
    capacity: float, target: float, *, cores: float | None, headroom: float, spare: int, price: float | None
) -> Plan:
    """Replicas, cores and cost for `target` requests a second.

    Args:
        capacity: requests a second that one replica of `cores` cores does within the objective; more than 0.
        headroom: the share of it that stays free for bursts.
        spare: replicas beyond that, which may be away.
        price: of a core and hour.
    """
    replicas = math.ceil(target / (capacity * (1 - headroom)) - 1e-9) + spare
    hour = None if price is None or cores is None else replicas * cores * price
    return Plan(
        replicas=replicas,
        cores=None if cores is None else replicas * cores,
        per_hour=hour,
        per_month=None if hour is None else HOURS_OF_A_MONTH * hour,
        per_million=None if hour is None else hour / (target * 3600) * 1e6,
    )
