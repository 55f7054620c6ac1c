"""What `scripts/demo --page` puts into a collection before it opens the page."""

import json
import shutil
from pathlib import Path

import demo_page
import pytest

from tests.gateway.collections.album import album, call, told
from tests.needs import needs
from tests.places import REPOSITORY

needs("lancedb", reason="the group `search` is not installed")


SAMPLES = REPOSITORY / "training" / "recipes" / "mini" / "samples"


def test_the_drawings_become_a_collection(tmp_path: Path) -> None:
    """Each drawing is an item with its English name, and one that cannot be added ends the demonstration."""
    samples = tmp_path / "samples"
    samples.mkdir()
    for name in ("1f34e.png", "1f34c.png", "captions.json"):
        shutil.copy(SAMPLES / name, samples)
    with album(tmp_path) as front:
        assert demo_page.fill(front.addresses.http, front.key, samples) == 2
        path = f"/{demo_page.COLLECTION}"
        assert told(call(front, "GET", path))["items"] == 2
        names = json.loads((samples / "captions.json").read_text(encoding="utf-8"))["names"]["en"]
        apple = told(call(front, "GET", f"{path}/items/1f34e"))
        assert (apple["caption"], apple["source"]) == (names["🍎"], "1f34e.png")
        call(front, "DELETE", path)
        (samples / "broken.png").write_bytes(b"no drawing")
        with pytest.raises(SystemExit, match="broken was not added"):
            demo_page.fill(front.addresses.http, front.key, samples)
