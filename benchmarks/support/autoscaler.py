"""What Kubernetes' HorizontalPodAutoscaler asks for, by its documented formula, on a clock of the caller's.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/: "Algorithm details" for one metric
of type Pods with an average value, "Configurable scaling behavior" for how fast it may go.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

SYNC_SECONDS = 15.0
"""How often the controller asks, unless it is told otherwise."""


@dataclass(frozen=True)
class Policy:
    """No more than `value` pods, or percent of the pods, are added or taken away in `seconds`."""

    kind: Literal["Pods", "Percent"]
    value: int
    seconds: float


@dataclass(frozen=True)
class Direction:
    """How fast it goes up, or down.

    Attributes:
        window: seconds over which the most careful of all recommendations counts.
        policies: of which the one counts that allows most.
    """

    window: float
    policies: tuple[Policy, ...]


# The defaults of autoscaling/v2.
UP = Direction(0.0, (Policy("Percent", 100, 15.0), Policy("Pods", 4, 15.0)))
DOWN = Direction(300.0, (Policy("Percent", 100, 15.0),))


@dataclass
class Autoscaler:
    """Of one Deployment.

    Args:
        target: what the metric is to be in a pod, on average.
        tolerance: by how much of it the average may be off before anything is done.
    """

    target: float
    minimum: int = 1
    maximum: int = 10
    tolerance: float = 0.1
    up: Direction = UP
    down: Direction = DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changed: list[tuple[float, int]] = field(default_factory=list)

    def desired(self, now: float, values: Sequence[float | None]) -> int:
        """How many pods there should be.

        Args:
            now: seconds, of a clock that goes on from call to call.
            values: the metric of each pod that there is; None of one that tells none yet, as while it starts.
        """
        current = len(values)
        recommended = min(max(proposed(values, self.target, self.tolerance), self.minimum), self.maximum)
        self._recommended.append((now, recommended))
        allowed = self._limited(now, current, self._stabilized(now, current))
        self._changed.append((now, allowed - current))
        return allowed

    def _stabilized(self, now: float, current: int) -> int:
        """The recommendation nearest to what there is: the least of those up, the most of those down."""
        up = min(count for when, count in self._recommended if when >= now - self.up.window)
        down = max(count for when, count in self._recommended if when >= now - self.down.window)
        return up if current < up else min(current, down)

    def _limited(self, now: float, current: int, wanted: int) -> int:
        if wanted > current:
            return min(wanted, max(self._most(policy, now, current) for policy in self.up.policies))
        if wanted < current:
            return max(wanted, min(self._least(policy, now, current) for policy in self.down.policies))
        return wanted

    def _most(self, policy: Policy, now: float, current: int) -> int:
        begun = current - sum(max(change, 0) for change in self._within(policy, now))
        added = policy.value if policy.kind == "Pods" else math.ceil(begun * policy.value / 100)
        return begun + added

    def _least(self, policy: Policy, now: float, current: int) -> int:
        begun = current - sum(min(change, 0) for change in self._within(policy, now))
        removed = policy.value if policy.kind == "Pods" else math.floor(begun * policy.value / 100)
        return begun - removed

    def _within(self, policy: Policy, now: float) -> list[int]:
        return [change for when, change in self._changed if when > now - policy.seconds]


def proposed(values: Sequence[float | None], target: float, tolerance: float = 0.1) -> int:
    """ceil(pods × average / target), where the average is off by more than the tolerance; else the pods.

    Pods that tell nothing count as idle where there should be more pods, and as at the target where fewer.
    """
    told = [value for value in values if value is not None]
    if not told:
        return len(values)
    ratio = sum(told) / len(told) / target
    silent = len(values) - len(told)
    if not silent:
        return len(values) if abs(1 - ratio) <= tolerance else math.ceil(ratio * len(values))
    filled = sum(told) + (silent * target if ratio < 1 else 0.0)
    careful = filled / len(values) / target
    if abs(1 - careful) <= tolerance or (ratio < 1) != (careful < 1):
        return len(values)
    return math.ceil(careful * len(values))
