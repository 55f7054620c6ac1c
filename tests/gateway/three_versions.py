"""Three versions of one model for the tests, two of them in one space, and a file that decides on them."""

from pathlib import Path
from typing import Any

import numpy as np

from babelclip.testing import InMemoryTransport
from gateway.embedding import embed
from gateway.models import Models
from gateway.session import SESSION
from gateway.versions import ModelVersions, VersionFile, render
from tests.gateway.engine import Engine, towers

OLD = InMemoryTransport(space="old", version="1.0", dim=8)
NEW = InMemoryTransport(space="new", version="2.0", dim=16)
NEXT = InMemoryTransport(space="old", version="3.0", dim=8)


def switched(engine: Engine, folder: Path, **decided: Any) -> Models:
    """The model `clip` of an engine, with this decided on it in a file."""
    path = folder / "versions.json"
    if decided:
        path.write_bytes(render({"clip": ModelVersions(**decided)}))
    return Models({"clip": towers(engine)}, versions=VersionFile(path))


async def version_of(models: Models, name: str = "clip", *, session: str = "") -> str:
    """The version that answers a text and an image of a session, which must be of one space."""
    SESSION.set(session)
    version, outcomes = await embed(models.find(name), ["a", b"b"])
    made = {"1.0": OLD, "2.0": NEW, "3.0": NEXT}[version.version]
    np.testing.assert_allclose(outcomes.vectors, [made.vector("a"), made.vector(b"b")], atol=1e-6)
    return version.version
