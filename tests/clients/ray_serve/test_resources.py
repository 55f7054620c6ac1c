"""What a tower gets of a cluster, as Ray Serve is told."""

import pytest

from babelclip.ray_serve.resources import Resources


def test_replicas_share_the_machine_unless_they_have_cores_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler takes its share of the cores, which it learns from the number of its like."""
    monkeypatch.delenv("BABELCLIP_DEVICE", raising=False)
    shared = Resources(replicas=2)
    assert shared.options()["num_replicas"] == 2
    assert shared.options()["ray_actor_options"] == {"num_cpus": 0.0}
    assert shared.environment()["BABELCLIP_WORKERS"] == "2"
    assert "BABELCLIP_WORKERS" not in Resources(replicas=2, cpus=4).environment()


def test_accelerators_are_asked_for_in_shares() -> None:
    """Half a GPU is half a GPU, and Gaudi is the resource that Ray calls HPU."""
    assert Resources(gpus=0.5).options()["ray_actor_options"] == {"num_cpus": 0.0, "num_gpus": 0.5}
    gaudi = Resources(hpus=1)
    assert gaudi.options()["ray_actor_options"]["resources"] == {"HPU": 1}
    assert gaudi.environment()["BABELCLIP_DEVICE"] == "hpu"


def test_replicas_follow_the_requests_where_there_may_be_more() -> None:
    """The number of requests under way decides, between the two bounds."""
    options = Resources(replicas=1, max_replicas=4, target_ongoing=16).options()
    assert options["autoscaling_config"] == {
        "min_replicas": 1,
        "max_replicas": 4,
        "target_ongoing_requests": 16,
    }
    assert "num_replicas" not in options


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"replicas": 0}, "at least 1 replica"),
        ({"replicas": 3, "max_replicas": 2}, "at most 2 replicas"),
        ({"cpus": -1}, "cpus must be 0 or more"),
        ({"gpus": 1, "hpus": 1}, "not on both"),
        ({"max_ongoing": 0}, "max_ongoing must be more than 0"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, int], says: str) -> None:
    """Before a cluster looks for it, and finds nothing."""
    with pytest.raises(ValueError, match=says):
        Resources(**wrong)
