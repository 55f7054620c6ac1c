"""A few hundred broken requests to the gateway; `python -m tests.gateway.fuzz` sends tens of thousands."""

import pytest

from tests.gateway.alone import alone
from tests.gateway.fuzz import fuzz


@pytest.mark.slow  # starts a gateway as a process
def test_broken_requests_are_refused_without_a_failure_of_ours() -> None:
    """Over all addresses of HTTP and all calls of gRPC: no 500, no leak, no growth, and some are answered."""
    with alone() as target:
        report = fuzz(target, bodies=400, seed=1)
    assert not report.failures
    assert report.bodies == report.counts.total() == 400
    answers = {answer for _, answer in report.counts}
    assert {"200", "400", "OK", "INVALID_ARGUMENT"} <= answers
