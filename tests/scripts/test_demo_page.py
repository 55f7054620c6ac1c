"""What `scripts/demo --page` puts into a collection before it opens the page."""

from dataclasses import replace
from pathlib import Path

import demo_page
import demo_subjects
import pytest

from tests.gateway.collections.album import album, call, told
from tests.needs import needs

needs("lancedb", reason="the group `search` is not installed")


def test_the_pictures_become_a_collection(tmp_path: Path) -> None:
    """Each picture is an item with its caption, and one that cannot be added ends the demonstration."""
    whole = demo_subjects.photographs()
    subject = replace(whole, pictures=whole.pictures[:2])
    with album(tmp_path) as front:
        assert demo_page.fill(front.addresses.http, front.key, subject) == 2
        assert told(call(front, "GET", "/photographs"))["items"] == 2
        bears = told(call(front, "GET", "/photographs/items/000000020247"))
        expected = ("A bear that is running on some dirt.", "000000020247.jpg")
        assert (bears["caption"], bears["source"]) == expected
        call(front, "DELETE", "/photographs")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.raises(SystemExit, match="broken was not added"):
            demo_page.fill(
                front.addresses.http, front.key, replace(subject, pictures=[tmp_path / "broken.png"])
            )
