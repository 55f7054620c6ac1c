"""How the export decides whether JPEGs may be decoded at a reduced scale."""

import io

import pytest
from PIL import Image

from export import decoding
from models import checkpoint
from tests.places import MINI

pytestmark = pytest.mark.slow  # embeds photographs


@pytest.fixture(scope="module")
def mini() -> checkpoint.Checkpoint:
    return checkpoint.load(MINI)


def test_the_photographs_lie_at_the_limit() -> None:
    """Each leaves just the asked multiple after one of the scales, so the worst case is measured."""
    sizes = [Image.open(io.BytesIO(data)).size for data in decoding.at_the_limit(64, 1.25)]
    assert len(sizes) >= 12
    for size in sizes:
        assert any(0 <= min(size) / scale - 80 <= 8 / scale for scale in (2, 4, 8))
        assert all(side % 8 == 0 for side in size)


def test_mini_may_be_reduced(mini: checkpoint.Checkpoint) -> None:
    """The committed model keeps its vectors: at least 0.995 each and 0.999 in the mean."""
    report = decoding.choose(mini)
    assert report.reduction >= 1
    assert report.min_cosine >= 0.995
    assert report.mean_cosine >= 0.999


def test_a_sensitive_model_is_decoded_in_full(
    mini: checkpoint.Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no reduction passes, JPEGs are decoded in full; when that fails too, nothing is written."""

    def measured(_: checkpoint.Checkpoint, reduction: float) -> decoding.Report:
        return decoding.Report(reduction, 1, 1.0 if reduction == 0 else 0.9, 1.0)

    monkeypatch.setattr(decoding, "measure", measured)
    assert decoding.choose(mini).reduction == 0
    monkeypatch.setattr(decoding, "measure", lambda _, k: decoding.Report(k, 1, 0.9, 0.9))
    with pytest.raises(decoding.DecodingError, match="at full size"):
        decoding.choose(mini)
