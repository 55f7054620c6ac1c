"""What an index says of an image beside its vector: size, time taken, a thumbnail, hashes.

    details = describe_image(Path("cat.jpg").read_bytes())
    details.width, details.taken, details.perceptual_hash  # 4032, 1719571500.0, "9c3e87c1e0f81f0f"

The bytes come from outside: a file is looked at before its pixels are decoded, and whatever is wrong with it
is an `ImageUnreadable` that says what. It needs Pillow.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import IMAGE_UNDECODABLE, BabelclipError
from babelclip.ingest.exif import EXIF_IFD, orientation_of, taken_at

if TYPE_CHECKING:
    from PIL import Image

THUMBNAIL = 256
"""Pixels of the longest side of a thumbnail, unless asked otherwise."""
MAX_PIXELS = 50_000_000
"""Width × height that an image is decoded to, as the vision tower has it."""
MAX_JPEG_PIXELS = 178_956_970
"""Width × height of a JPEG, which is decoded at a part of its size."""
EMPTY_ITEM = "empty_item"
IMAGE_TOO_LARGE = "image_too_large"

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JXL")
_MAX_SCANS = 100  # of a JPEG: each costs as much as decoding it once
_MAX_PROFILE = 4_000_000  # bytes of a colour profile that is used
_QUALITY = 80
_HASHED = 32  # pixels of a side of what is hashed
_KEPT = 8  # of its coefficients, each way


class ImageUnreadable(BabelclipError, ValueError):
    """Nothing can be said of an image: `code` is a word for programs, `message` says what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.code, self.message)


@dataclass(frozen=True)
class ImageDetails:
    """What is known of an image.

    Attributes:
        width, height: pixels of the upright image.
        taken: when it was taken by its EXIF notes, seconds since 1970 (UTC); None where they do not say. A
            camera that notes no time zone is taken to be set to UTC.
        thumbnail: a JPEG of the upright image in sRGB, transparent parts white.
        perceptual_hash: 64 bits as 16 hexadecimal digits. Images that look alike differ in few of them; all
            are 0 where the image is one plain colour.
        checksum: SHA-256 of the bytes, 64 hexadecimal digits.
    """

    width: int
    height: int
    taken: float | None
    thumbnail: bytes
    perceptual_hash: str
    checksum: str


def describe_image(data: bytes, *, thumbnail: int = THUMBNAIL) -> ImageDetails:
    """Encoded image bytes → their details; of an animation the first frame counts.

    Args:
        thumbnail: pixels of its longest side, at least 32; smaller images are not enlarged.

    Raises:
        ImageUnreadable: `empty_item`, `image_too_large` or `image_undecodable`.
        ValueError: `thumbnail` is out of range.
        ImportError: Pillow is not installed.
    """
    if not 32 <= thumbnail <= 4096:
        raise ValueError(f"thumbnail must be from 32 to 4096 pixels, not {thumbnail}")
    if not data:
        raise ImageUnreadable(EMPTY_ITEM, "the image has no bytes")
    formats = _formats()
    try:
        image = _open(data, formats)
        notes = _notes(image)
        orientation = orientation_of(notes)
        width, height = image.size
        # Two steps of a JPEG's own scaling are left to the filter, so that a thumbnail is smooth.
        image.draft("RGB", (2 * thumbnail, 2 * thumbnail))
        _check_pixels(*image.size)
        image.load()
        if image.format not in ("JPEG", "MPO"):  # Some formats tell their true size only now.
            width, height = image.size
            _check_pixels(width, height)
        small = _small(image, thumbnail, orientation)
    except (ImageUnreadable, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly every built-in exception on broken data.
        sentence = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageUnreadable(
            IMAGE_UNDECODABLE, f"the image cannot be decoded, or is cut off: {sentence}"
        ) from error
    if orientation >= 5:  # A quarter turn.
        width, height = height, width
    return ImageDetails(
        width=width,
        height=height,
        taken=taken_at(notes),
        thumbnail=_jpeg(small),
        perceptual_hash=_perceptual_hash(small),
        checksum=checksum_of(data),
    )


def checksum_of(data: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@functools.cache
def _formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded: as the vision tower has them, with its packages.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("describing images needs Pillow: pip install 'babelclip[search]'") from error
    Image.init()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener(decode_threads=1, thumbnails=False)
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")  # Registers itself.
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """As Image.open, without its warning of many pixels: how many are too many is checked here."""
    from PIL import Image

    if data.startswith(b"\xff\xd8\xff") and data.count(b"\xff\xda") > _MAX_SCANS:
        raise ImageUnreadable(
            IMAGE_UNDECODABLE, f"the JPEG has more than {_MAX_SCANS} scans; save it as an ordinary one"
        )
    for name in formats:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
                image: Image.Image = factory(io.BytesIO(data), "")
                most = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
                _check_pixels(*image.size, most)
                return image
    raise ImageUnreadable(
        IMAGE_UNDECODABLE, f"the bytes are no image of a known format; known are {', '.join(formats)}"
    )


def _check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise ImageUnreadable(
            IMAGE_TOO_LARGE, f"the image is {width}×{height} pixels; at most {most:,} are allowed"
        )


def _notes(image: Image.Image) -> dict[int, Any]:
    """EXIF notes by their number, those of the camera among them; broken ones are left out."""
    notes: dict[int, Any] = {}
    try:
        exif = image.getexif()
        notes.update(exif)
        notes.update(exif.get_ifd(EXIF_IFD))
    except Exception:  # Broken notes are no reason to refuse sound pixels.
        return notes
    return notes


def _small(image: Image.Image, longest: int, orientation: int) -> Image.Image:
    """The image in RGB and upright, at most `longest` pixels a side."""
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    scale = min(1.0, longest / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
    image = _to_srgb(image, profile)
    return image.transpose(turns[orientation]) if orientation in turns else image


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey values wider than a byte: the range of 16 bits, or what the image has where it is another."""
    from PIL import Image

    grey = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (float(grey.min()), float(grey.max()))
    scaled = (grey - low) * (255.0 / max(high - low, 1e-30))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    """RGB by the embedded colour profile; where it is missing, broken or of another mode, as it is."""
    from PIL import Image, ImageCms

    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_PROFILE:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            made = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            if isinstance(made, Image.Image):
                return made
    return image.convert("RGB")


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    # Pillow would put the notes and the profile of the original into it.
    image.info = {}
    image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()


def _perceptual_hash(image: Image.Image) -> str:
    """The DCT hash of C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.

    Grey, 32×32, cosine transform; the sign of each of the 8×8 lowest coefficients but the constant ones,
    against their median.
    """
    from PIL import Image

    grey = image.convert("L").resize((_HASHED, _HASHED), Image.Resampling.BOX)
    transform = _cosines()
    lowest = transform @ np.asarray(grey, dtype=np.float64) @ transform.T  # [8, 8]
    # What is left of a plain colour is the noise of the arithmetic.
    values = np.round(lowest, 3).ravel()
    bits = np.packbits(values > np.median(values))
    return bits.tobytes().hex()


@functools.cache
def _cosines() -> NDArray[np.float64]:
    """Rows 1 to 8 of the discrete cosine transform (II) of 32 values: float64 [8, 32]."""
    frequencies = np.arange(1, _KEPT + 1)[:, None]
    places = 2 * np.arange(_HASHED)[None, :] + 1
    waves: NDArray[np.float64] = np.cos(np.pi * frequencies * places / (2 * _HASHED))
    return waves * math.sqrt(2 / _HASHED)
