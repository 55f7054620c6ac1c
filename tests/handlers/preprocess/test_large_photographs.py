"""JPEGs of more pixels than are allowed in full: decoded reduced, within bounds, with the same vectors."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export import decoding, golden
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.image_files import ImageError
from handlers.preprocess.jpeg import MAX_SCANS, Structure, read_structure, scale_for
from handlers.preprocess.reference import Pixels, decode_image
from models import checkpoint
from tests.handlers.images import encoded, motif
from tests.places import MINI

pytestmark = pytest.mark.slow  # decodes large photographs

BYTES = 20_000_000
DECODERS: list[Callable[..., Pixels]] = [
    decode_image,
    lambda data, **limits: decode_fast(data, reduction=0, **limits),
    lambda data, **limits: decode_fast(data, reduction=1.25, **limits),
]


@pytest.fixture(scope="module")
def camera() -> dict[tuple[int, int], bytes]:
    """Photographs as a phone's 200 megapixels and its panorama, in grey to save time."""
    found = {}
    for width, height in ((16320, 12240), (16382, 3628)):
        small = motif(width // 16, height // 16).convert("L")
        found[width, height] = encoded(small.resize((width, height)), "JPEG", quality=50)
    return found


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("size", [(16320, 12240), (16382, 3628)])
def test_what_a_phone_takes_is_decoded(
    camera: dict[tuple[int, int], bytes], size: tuple[int, int], decode: Callable[..., Pixels]
) -> None:
    """200 megapixels and a panorama pass the default limit of 50, whatever the archive says of reducing."""
    pixels = decode(camera[size], size=224, max_pixels=50_000_000, max_bytes=BYTES)
    small = encoded(motif(size[0] // 16, size[1] // 16).convert("L"))
    expected = decode_image(small, size=224, max_pixels=50_000_000, max_bytes=BYTES)
    assert np.abs(pixels.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    ("width", "height", "options"),
    [
        (4001, 2000, {}),  # more than eight times as many
        (2001, 2000, {"progressive": True}),  # more than four times
        (8000, 70, {}),  # half of it is too many, and a quarter leaves 18 pixels of the short side
    ],
)
def test_what_is_too_large_even_reduced_is_refused(
    decode: Callable[..., Pixels], width: int, height: int, options: dict[str, bool]
) -> None:
    """The bounds of what is decoded reduced hold, and the sentence names them; nothing was decoded."""
    data = encoded(motif(64, 64).convert("L").resize((width, height)), "JPEG", **options)
    with pytest.raises(ImageError) as caught:
        decode(data, size=16, max_pixels=1_000_000 if height > 200 else 100_000, max_bytes=BYTES)
    assert caught.value.code == "image_too_large"
    assert f"{width}×{height}" in caught.value.message
    assert ("8,000,000 (4,000,000 if progressive)" if height > 200 else "800,000") in caught.value.message


def test_a_progressive_jpeg_of_many_scans_is_held_to_the_same_work() -> None:
    """A scan goes through all coefficients: what has more pixels may have fewer scans."""
    asked = {"max_pixels": 1_000_000, "size": 224, "reduction": 0}
    assert scale_for(2000, 1900, Structure(scans=20, held=6), **asked) == 2
    assert scale_for(2000, 1900, Structure(scans=30, held=6), **asked) is None
    assert scale_for(1000, 1000, Structure(scans=MAX_SCANS, held=6), **asked) == 1


def test_other_formats_are_bound_by_the_limit() -> None:
    """A PNG of one pixel too many is a bomb or a mistake, and the sentence says what may be larger."""
    with pytest.raises(
        ImageError, match=r"at most 1,000,000 are allowed; only a JPEG may have more"
    ) as caught:
        decode_image(encoded(Image.new("1", (1001, 1000))), size=16, max_pixels=1_000_000, max_bytes=BYTES)
    assert caught.value.code == "image_too_large"


def test_a_reduced_photograph_keeps_its_vector() -> None:
    """Cosines with the full decoding, where just twice the tower's input is left and where sides are odd."""
    mini = checkpoint.load(MINI)
    size = mini.model.config.vision.size
    photographs = decoding.at_the_limit(size, 2.0)
    for data in golden.photographs().values():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for sides in ((1031, 773), (1033, 521)):
            photographs.append(golden.encode(image.resize(sides), "JPEG", quality=90))
    pairs = []
    for data in photographs:
        image = Image.open(io.BytesIO(data))
        scale = 4 if min(image.size) >= 8 * size else 2
        reduced = -(-image.width // scale) * -(-image.height // scale)
        asked: dict[str, Any] = {"size": size, "max_bytes": BYTES}
        whole = decode_image(data, max_pixels=BYTES, **asked)
        pairs.append(
            (whole, decode_image(data, max_pixels=max(reduced, image.width * image.height // 7), **asked))
        )
    assert sum(not np.array_equal(*pair) for pair in pairs) == len(pairs) >= 15
    full, fast = (decoding._embed(mini, pixels) for pixels in zip(*pairs, strict=True))
    cosines = (full * fast).sum(1)
    exact = len(decoding.at_the_limit(size, 2.0))
    assert cosines[:exact].min() > 0.9995
    assert cosines[exact:].min() > 0.998
    assert cosines.mean() > 0.9995


def test_several_pictures_in_one_file_are_one_photograph() -> None:
    """A phone's JPEG with a gain map or a second view behind it (MPO) is its first picture, reduced too."""
    first, second = motif(640, 480), Image.new("RGB", (640, 480))
    whole = encoded(first, "MPO", save_all=True, append_images=[second], quality=90)
    asked: dict[str, Any] = {"size": 64, "max_bytes": BYTES}
    assert Image.open(io.BytesIO(whole)).format == "MPO"
    expected = decode_image(encoded(first), max_pixels=BYTES, **asked).astype(int)
    for limit in (BYTES, 640 * 480 // 4):
        assert np.abs(decode_image(whole, max_pixels=limit, **asked) - expected).mean() < 3
    alone = encoded(first, "JPEG", quality=90)
    reduced = decode_fast(whole, max_pixels=BYTES, reduction=1.0, **asked)
    np.testing.assert_array_equal(reduced, decode_fast(alone, max_pixels=BYTES, reduction=1.0, **asked))


@pytest.mark.parametrize(
    ("options", "held"), [({}, 0), ({"progressive": True}, 6), ({"restart_marker_blocks": 1}, 0)]
)
def test_what_a_jpeg_holds_is_read_from_its_markers(options: dict[str, object], held: int) -> None:
    """A baseline JPEG is decoded row by row; a progressive one holds two bytes of each of its components."""
    data = encoded(motif(), "JPEG", **options)
    assert read_structure(data).held == held
    assert read_structure(data).scans == (10 if held else 1)


@given(st.binary(max_size=300))
def test_any_markers_have_a_structure(rest: bytes) -> None:
    """Whatever follows the signature, reading it ends and gives numbers."""
    structure = read_structure(b"\xff\xd8" + rest)
    assert 0 <= structure.scans <= MAX_SCANS + 1
    assert 0 <= structure.held <= 510
