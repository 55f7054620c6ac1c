"""Archives as they were before the handlers had rooms: one flat package, `handlers/*.py`.

`former_handlers.zip` holds that package as archives packed it, with the entry module of each tower and the
`sitecustomize.py` that every text archive had.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

FORMER = Path(__file__).with_name("former_handlers.zip")


def make_former_store(store: Path, target: Path) -> None:
    """Copy a model store; the copy's archives have the former handlers in place of today's."""
    target.mkdir()
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["spaces"]:
        for tower in ("text", "vision"):
            name = entry[tower]["mar"]
            _make_former(store / name, tower, target / name)
            entry[tower]["sha256"] = hashlib.sha256((target / name).read_bytes()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _make_former(archive: Path, tower: str, target: Path) -> None:
    ours = {f"clip_{tower}.py"} | ({"sitecustomize.py"} if tower == "text" else set())
    with (
        zipfile.ZipFile(archive) as today,
        zipfile.ZipFile(FORMER) as former,
        zipfile.ZipFile(target, "w") as made,
    ):
        for name in today.namelist():
            if not name.startswith("handlers/") and name not in ours:
                made.writestr(name, today.read(name))
        for name in former.namelist():
            if name.startswith("handlers/") or name in ours:
                made.writestr(name, former.read(name))
