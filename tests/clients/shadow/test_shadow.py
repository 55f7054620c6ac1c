"""A candidate in the shadow of what serves, and sessions that a canary serves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from babelclip import AsyncClient, Call, Client, Shadow, TrafficSplit, Unavailable
from babelclip.embeddings import Vectors
from babelclip.shadow.comparison import Limits, Report
from babelclip.shadow.shadow import WAITING
from babelclip.testing import InMemoryTransport

TEXTS = [f"text {number}" for number in range(120)]
IMAGES = [f"image {number}".encode() for number in range(120)]
PATIENT = Limits(latency=1e9)  # In memory, times mean nothing.


class Changed(InMemoryTransport):
    """The same vectors, changed."""

    def __init__(self, change: Callable[[bytes, Vectors], Vectors], *, space: str = "in-memory") -> None:
        super().__init__(space=space, version="2.0")
        self.change = change

    def vector(self, item: str | bytes) -> Vectors:
        data = item.encode() if isinstance(item, str) else item
        return self.change(data, super().vector(data))


def rotated(item: bytes, vector: Vectors) -> Vectors:
    """Another space of the same geometry."""
    return vector[::-1].copy()


def noisy_images(item: bytes, vector: Vectors) -> Vectors:
    """What a bug in the preprocessing does: images lie elsewhere, texts do not."""
    if not item.startswith(b"image"):
        return vector
    moved = vector + np.roll(vector, 1)
    return moved / np.linalg.norm(moved)


def compared(candidate: InMemoryTransport, share: float = 1.0) -> Report:
    """120 texts and images served one by one, and what the shadow says."""
    with (
        Client("", transport=candidate, version="2.0") as other,
        Shadow(other, share=share, wait=True) as shadow,
        Client("", transport=InMemoryTransport(), shadow=shadow) as client,
    ):
        for text, image in zip(TEXTS, IMAGES, strict=True):
            client.embed_texts([text])
            client.embed_images([image])
    report: Report = shadow.report(PATIENT)
    return report


def test_a_candidate_that_gives_the_same_may_be_promoted() -> None:
    """A version that was only exported anew passes: every vector is where it was."""
    report = compared(Changed(lambda item, vector: vector))
    assert (report.promote, report.reasons, str(report)) == (True, (), "promote: yes")
    assert (report.items, report.same_space) == ({"text": 120, "image": 120}, True)
    assert report.cosine["image"] == pytest.approx(1.0)
    assert report.overlap == {"text → image": 1.0, "image → image": 1.0, "text → text": 1.0}


def test_a_bug_in_the_preprocessing_is_reported() -> None:
    """Images that lie elsewhere in the same space are told, with how far; texts are not accused."""
    report = compared(Changed(noisy_images))
    assert not report.promote
    assert len(report.reasons) == 1
    assert "of the image vectors have a cosine of at most 0." in report.reasons[0]
    assert report.as_json()["cosine"]["text"] == pytest.approx(1.0)


def test_another_space_is_judged_by_its_neighbours() -> None:
    """Vectors of two spaces are never compared, but the same neighbours are the same quality."""
    report = compared(Changed(rotated, space="another"))
    assert (report.promote, report.same_space, report.cosine) == (True, False, {})
    assert report.overlap["text → image"] == pytest.approx(1.0)
    worse = compared(Changed(lambda i, v: rotated(i, noisy_images(i, v)), space="another"))
    assert not worse.promote
    assert "text → image neighbours overlap by 0." in str(worse)


def test_items_that_only_the_candidate_fails_are_counted() -> None:
    """What failed before is no fault of the candidate; what fails now is."""
    failing: dict[str | bytes, tuple[str, str]] = {IMAGES[3]: ("image_undecodable", "broken")}
    report = compared(InMemoryTransport(version="2.0", failing=failing))
    assert report.failed == {"image_undecodable": 1}
    assert "the candidate alone fails 1 of 240 items, most with image_undecodable" in report.reasons

    class Gone(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            raise Unavailable("nobody answers", retryable=False)

    report = compared(Gone())
    assert report.failed == {"Unavailable": 240}
    assert "0 texts were compared, 50 are needed" in report.reasons


def test_what_the_candidate_raises_never_ends_the_comparison() -> None:
    """A client of its own that is broken, or a space that changes, costs no later request its comparison."""
    candidate = Changed(lambda item, vector: vector)
    broken = iter([ValueError("no header"), None, None])

    def headers() -> dict[str, str]:
        if (error := next(broken, None)) is not None:
            raise error
        return {}

    with (
        Client("", transport=candidate, version="2.0", headers=headers) as other,
        Shadow(other, share=1.0, wait=True) as shadow,
    ):
        for dim in (32, 32, 16):  # The last client is one of another model.
            served = InMemoryTransport(space=f"of {dim}", dim=dim)
            with Client("", transport=served, shadow=shadow) as client:
                client.embed_texts(["a"])
    report = shadow.report(PATIENT)
    assert report.failed == {"ValueError": 1}
    assert (report.items, report.same_space) == ({"text": 1, "image": 0}, False)


def test_a_share_is_always_the_same_requests() -> None:
    """A request that comes again is always, or never, copied, so that shares can be compared over time."""
    candidate = Changed(lambda item, vector: vector)
    compared(candidate, share=0.3)
    first = sorted(call.body for call in candidate.calls)
    candidate.calls.clear()
    compared(candidate, share=0.3)
    assert sorted(call.body for call in candidate.calls) == first
    assert 0.15 * 240 < len(first) < 0.45 * 240


def test_the_caller_never_waits_for_the_shadow() -> None:
    """A candidate that hangs costs copies, which are counted, and not a millisecond of the service."""
    released = threading.Event()

    class Stuck(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            released.wait(30)
            return super().send(call)

    with Client("", transport=Stuck(), version="2.0") as other:
        shadow = Shadow(other, share=1.0)
        with Client("", transport=InMemoryTransport(), shadow=shadow) as client:
            for number in range(WAITING + 10):
                client.embed_texts([f"text {number}"])
        assert shadow.report().dropped >= 9
        released.set()
        shadow.close()


def test_a_closed_shadow_holds_up_nobody() -> None:
    """A service that goes on after its comparison has ended waits for no thread that is gone."""
    with Client("", transport=InMemoryTransport(), version="2.0") as other:
        shadow = Shadow(other, share=1.0, wait=True)
        shadow.close()
        with Client("", transport=InMemoryTransport(), shadow=shadow) as client:
            for number in range(WAITING + 10):
                client.embed_texts([f"text {number}"])
    assert not any(shadow.report().items.values())


def test_a_slow_candidate_is_not_promoted() -> None:
    """An answer that takes longer than allowed is a reason of its own."""
    with (
        Client("", transport=InMemoryTransport(), version="1.0") as other,
        Shadow(other, share=1.0) as shadow,
        Client("", transport=InMemoryTransport(), shadow=shadow) as client,
    ):
        client.embed_texts(TEXTS)
    report = shadow.report(Limits(latency=1e-9))
    assert any("of the text tower takes" in reason for reason in report.reasons)


def test_an_event_loop_has_a_shadow_too() -> None:
    """The asynchronous client offers its requests like the other one, and metrics tell what came of them."""
    registry = CollectorRegistry()
    with (
        Client("", transport=Changed(noisy_images), version="2.0") as other,
        Shadow(other, share=1.0, registry=registry) as shadow,
    ):

        async def serve() -> None:
            async with AsyncClient("", transport=InMemoryTransport().asynchronous(), shadow=shadow) as client:
                await client.embed_images(IMAGES)

        asyncio.run(serve())
    assert shadow.report().items["image"] == 120
    labels = {"tower": "vision", "outcome": "ok"}
    assert registry.get_sample_value("babelclip_shadow_items_total", labels) == 120
    bucket = {"tower": "vision", "le": "0.99"}
    assert registry.get_sample_value("babelclip_shadow_cosine_bucket", bucket) == 120


@pytest.mark.parametrize(("options", "says"), [({"share": 0}, "share"), ({"keep": 1}, "keep")])
def test_impossible_settings_are_refused(options: dict[str, int], says: str) -> None:
    """A share of nothing, or a candidate without a version, would compare nothing and find no fault."""
    with (
        Client("", transport=InMemoryTransport(), version="2.0") as other,
        pytest.raises(ValueError, match=says),
    ):
        Shadow(other, **options)
    with Client("", transport=InMemoryTransport()) as other, pytest.raises(ValueError, match="version"):
        Shadow(other)


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_session_keeps_its_canary(key: str, share: float, more: float) -> None:
    """A key gets the same version each time, and keeps the candidate when the share grows."""
    smaller, larger = sorted((share, more))
    before, after = (TrafficSplit("2.0", one).version_for(key) for one in (smaller, larger))
    assert before == TrafficSplit("2.0", smaller).version_for(key)
    assert before in (None, after)


def test_a_canary_serves_its_share() -> None:
    """Of many sessions, the share that was asked for is served by the candidate."""
    chosen = [TrafficSplit("2.0", 0.2).version_for(f"user {number}") for number in range(2000)]
    assert 0.17 < chosen.count("2.0") / len(chosen) < 0.23
    with pytest.raises(ValueError, match="from 0 to 1"):
        TrafficSplit("2.0", 1.5)
