"""Three versions of one model for the tests, two of them in one space, and a file that decides on them."""

from pathlib import Path
from typing import Any

import numpy as np

from babelclip.testing import InMemoryTransport
from gateway.admission.towers import Admission
from gateway.embedding import embed
from gateway.models import Models
from gateway.session import SESSION
from gateway.towers.base import Towers
from gateway.versions import ModelVersions, VersionFile, render
from tests.gateway.engine import Engine, towers

OLD = InMemoryTransport(space="old", version="1.0", dim=8)
NEW = InMemoryTransport(space="new", version="2.0", dim=16)
NEXT = InMemoryTransport(space="old", version="3.0", dim=8)


def switched(engine: Engine, folder: Path, admission: Admission | None = None, **decided: Any) -> Models:
    """The model `clip` of an engine, with this decided on it in a file, and queues before it or none."""
    path = folder / "versions.json"
    if decided:
        path.write_bytes(render({"clip": ModelVersions(**decided)}))
    made = towers(engine)
    below: Towers = made if admission is None else admission.before("clip", made)
    return Models({"clip": below}, versions=VersionFile(path), admission=admission)


async def version_of(models: Models, name: str = "clip", *, session: str = "") -> str:
    """The version that answers a text and an image of a session, which must be of one space."""
    SESSION.set(session)
    version, outcomes = await embed(models.find(name), ["a", b"b"])
    made = {"1.0": OLD, "2.0": NEW, "3.0": NEXT}[version.version]
    np.testing.assert_allclose(outcomes.vectors, [made.vector("a"), made.vector(b"b")], atol=1e-6)
    return version.version
