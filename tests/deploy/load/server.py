"""A gateway for load tests: an engine in memory that refuses what deploy/load makes bad, as a tower does."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from babelclip.testing import InMemoryTransport
from deploy.load.traffic import INVISIBLE, NO_IMAGE, PHOTOGRAPHS
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway


@contextlib.contextmanager
def loaded_gateway(folder: Path) -> Iterator[Front]:
    """It listens on free ports while the block runs."""
    photographs = [path.read_bytes() for path in PHOTOGRAPHS.glob("*.jpg")]
    failing: dict[str | bytes, tuple[str, str]] = {
        INVISIBLE: ("empty_item", "the text has no visible character"),
        NO_IMAGE: ("image_undecodable", "the image cannot be read"),
    }
    failing |= {photo[: len(photo) // 2]: ("image_truncated", "the image ends") for photo in photographs}
    with gateway(Engine(InMemoryTransport(failing=failing)), folder) as front:
        yield front
