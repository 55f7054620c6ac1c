"""How much an answer of a tool may hold: texts are cut, and pictures are left out where there is no room."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from babelclip.retrievers.finding import FoundImage

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the SDK of MCP is not installed"
)


def large_page(count: int, caption: str, metadata: Mapping[str, Any], thumbnail: bytes) -> Any:
    from babelclip.mcp.library import Page

    found = [
        FoundImage(
            id=f"{n}" * 100,
            source=caption,
            caption=caption,
            score=0.5,
            metadata=metadata,
            duplicates=("d" * 128,) * 1000,
            thumbnail=thumbnail,
        )
        for n in range(count)
    ]
    return Page(images=found, threshold=None, fits=True, next_offset=None)


@pytest.mark.parametrize(
    "caption", ["x" * 100_000, "猫" * 100_000, '"\\' * 100_000, "\x1b[31m\n\ud800" * 9000]
)
def test_an_answer_stays_below_its_bytes(caption: str) -> None:
    """However long captions are and however large pictures, a model's context is not flooded."""
    from babelclip.mcp import Limits, answers
    from tests.clients.mcp.asking import pictures, texts

    noise = np.random.default_rng(0).integers(0, 255, (500, 500, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=95)
    metadata = {"text": caption, "few": 1, "nan": float("nan"), "deep": {"list": list(range(100_000))}}
    page = large_page(20, caption, metadata, stream.getvalue())
    answer = answers.images(page, Limits(bytes=300_000))
    assert len(answer.model_dump_json(by_alias=True).encode()) <= 300_000
    assert answer.structured_content is not None
    assert len(answer.structured_content["images"]) == 20
    assert answer.structured_content["images"][0]["metadata"] == {"few": 1}
    shown = pictures(answer)
    assert 1 <= len(shown) < 20
    assert all(len(one.data) < 200_000 for one in shown)
    assert sum("would be too large" in text for text in texts(answer)) == 20 - len(shown)
    assert all(text.isprintable() for text in texts(answer))


def test_small_pictures_stay_as_they_are() -> None:
    """What is small already is not encoded again, and what is no JPEG is no error."""
    from babelclip.mcp.pictures import BYTES, small

    assert small(b"small") == b"small"
    broken = b"\xff\xd8" + b"x" * BYTES
    assert small(broken) == broken


@pytest.mark.parametrize("limits", [{"results": 0}, {"results": 21}, {"bytes": 1000}, {"original_bytes": 0}])
def test_limits_that_cannot_hold_are_refused(limits: dict[str, int]) -> None:
    """A server that could break its own promise does not start."""
    from babelclip.mcp import Limits

    with pytest.raises(ValueError, match="not"):
        Limits(**limits)
