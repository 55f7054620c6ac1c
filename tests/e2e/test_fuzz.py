"""A few hundred broken requests at once; `python -m tests.fuzz` sends tens of thousands."""

from pathlib import Path

import pytest

from tests.e2e.support import Server
from tests.fuzz.run import fuzz

BODIES = 600


@pytest.mark.usefixtures("unharmed")
def test_broken_requests_get_documented_answers(server: Server, tmp_path: Path) -> None:
    """Whatever is sent, over HTTP and gRPC together: no worker dies, and every answer is a documented one."""
    report = fuzz(server, bodies=BODIES, seed=1, folder=tmp_path)
    assert not report.failures
    assert report.bodies == sum(report.counts.values()) == BODIES
    # The bodies reach the towers: a good part of them is sound enough to be embedded.
    assert (
        sum(count for (_, counted), count in report.counts.items() if counted.endswith("served"))
        > BODIES / 20
    )
