"""The formula of the HorizontalPodAutoscaler, as Kubernetes documents it."""

import pytest

from benchmarks.scaling import simulate
from benchmarks.support.autoscaler import Autoscaler, Direction, Policy, proposed


@pytest.mark.parametrize(
    ("values", "target", "pods"),
    [
        ([200.0], 100.0, 2),  # the documentation's own two examples
        ([50.0, 50.0], 100.0, 1),
        ([109.0, 109.0], 100.0, 2),  # within the tolerance of a tenth
        ([111.0, 111.0, 111.0], 100.0, 4),
        ([0.0, 0.0], 100.0, 0),
        ([], 100.0, 0),
    ],
)
def test_the_ratio_times_the_pods_rounded_up(values: list[float], target: float, pods: int) -> None:
    """ceil(pods × average / target), and nothing near the target."""
    assert proposed(values, target) == pods


@pytest.mark.parametrize(
    ("values", "pods"),
    [
        ([None, None], 2),  # nobody tells anything
        ([300.0, None, None], 3),  # two that start are taken for idle: three will do
        ([600.0, None], 6),
        ([150.0, None], 2),  # with the idle one the average is below the target: no change of direction
        ([50.0, None], 2),  # taken for busy where there could be fewer
    ],
)
def test_pods_that_tell_nothing_are_counted_carefully(values: list[float | None], pods: int) -> None:
    """They damp a change, and never turn it round."""
    assert proposed(values, 100.0) == pods


def test_it_goes_up_no_faster_than_the_policies_allow() -> None:
    """By default four pods or as many again in fifteen seconds, whichever is more."""
    autoscaler = Autoscaler(10.0, maximum=100)
    assert autoscaler.desired(0.0, [500.0]) == 5
    assert autoscaler.desired(10.0, [100.0] * 5) == 5  # within the same fifteen seconds
    assert autoscaler.desired(20.0, [100.0] * 5) == 10


def test_it_goes_down_after_a_while() -> None:
    """The most that was recommended within five minutes counts."""
    autoscaler = Autoscaler(10.0)
    assert autoscaler.desired(0.0, [10.0] * 4) == 4
    assert autoscaler.desired(290.0, [1.0] * 4) == 4
    assert autoscaler.desired(301.0, [1.0] * 4) == 1


def test_the_limits_hold() -> None:
    """Never fewer than the least, never more than the most, and a policy may be set."""
    slow = Direction(0.0, (Policy("Pods", 1, 60.0),))
    autoscaler = Autoscaler(10.0, minimum=2, maximum=3, up=slow)
    assert autoscaler.desired(0.0, [0.0, 0.0]) == 2
    assert autoscaler.desired(15.0, [90.0, 90.0]) == 3
    assert autoscaler.desired(30.0, [90.0] * 3) == 3


def test_a_record_asks_for_the_pods_that_it_takes() -> None:
    """Three pods' worth of callers at one: three are asked for, and kept while they start and after."""
    asked = simulate([(0.0, 108.0)], [(0.0, 105.0)], target=48.0, start_seconds=60.0)
    assert {pods for _, pods in asked} == {3}
    asked = simulate([(0.0, 20.0), (40.0, 108.0)], [(0.0, 105.0)], target=48.0, start_seconds=60.0)
    assert [pods for _, pods in asked[:4]] == [1, 1, 1, 3]
