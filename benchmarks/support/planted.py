"""Images without end, no two of one motif, and what people make of an image: the planted duplicates.

Scenes lay drawings of emoji over parts of photographs; others are painted from shapes, or show one drawing on
a plain ground. Equal seeds give equal bytes.
"""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.support.towers import REPOSITORY
from export import golden

SIZES = ((480, 360), (360, 480), (400, 400), (512, 288), (320, 240))
DRAWINGS = REPOSITORY / "training/recipes/mini/samples"


@cache
def _photographs() -> list[Image.Image]:
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in golden.photographs().values()]


@cache
def _drawings() -> list[Image.Image]:
    return [Image.open(path).convert("RGBA") for path in sorted(DRAWINGS.glob("*.png"))]


def original(number: int) -> Image.Image:
    """The image of this number, RGB; each number has a motif of its own."""
    random = np.random.default_rng([1, number])
    width, height = SIZES[random.integers(len(SIZES))]
    # A drawing alone is one motif on every ground, so each is shown alone once.
    if number % 40 == 0 and number // 40 < len(_drawings()):
        return _alone(number // 40, width, height, random)
    if number % 8 == 1:
        return golden.picture(1_000_000 + number, width, height)
    return _scene(width, height, random)


def _alone(which: int, width: int, height: int, random: np.random.Generator) -> Image.Image:
    ground = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    side = int(0.8 * min(width, height))
    drawing = _drawings()[which].resize((side, side), Image.Resampling.BICUBIC)
    ground.paste(drawing, ((width - side) // 2, (height - side) // 2), drawing)
    return ground


def _scene(width: int, height: int, random: np.random.Generator) -> Image.Image:
    ground = _part_of_a_photograph(width, height, random)
    for _ in range(random.integers(2, 7)):
        side = int(random.uniform(0.2, 0.6) * min(width, height))
        drawing = _drawings()[random.integers(len(_drawings()))]
        drawing = drawing.rotate(random.uniform(-40, 40), Image.Resampling.BICUBIC, expand=True)
        drawing = drawing.resize((side, side), Image.Resampling.BICUBIC)
        place = int(random.uniform(-0.2, 0.9) * width), int(random.uniform(-0.2, 0.9) * height)
        ground.paste(drawing, place, drawing)
    return ground


def _part_of_a_photograph(width: int, height: int, random: np.random.Generator) -> Image.Image:
    """A third of one, or less, in other colours."""
    photograph = _photographs()[random.integers(len(_photographs()))]
    scale = random.uniform(0.25, 0.55)
    across, down = scale * photograph.width, scale * photograph.height
    left, top = random.uniform(0, photograph.width - across), random.uniform(0, photograph.height - down)
    box = (left, top, left + across, top + down)
    part = photograph.resize((width, height), Image.Resampling.BICUBIC, box=box)
    if random.random() < 0.5:
        part = ImageOps.mirror(part)
    return _hue(part, int(random.integers(0, 256)))


def _hue(image: Image.Image, turn: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def encode(image: Image.Image, kind: str = "JPEG", quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, quality=quality)
    return stream.getvalue()


def resized(image: Image.Image, random: np.random.Generator) -> bytes:
    """30 to 80 % of the pixels a side."""
    scale = random.uniform(0.3, 0.8)
    size = round(scale * image.width), round(scale * image.height)
    return encode(image.resize(size, Image.Resampling.LANCZOS))


def reencoded(image: Image.Image, random: np.random.Generator) -> bytes:
    """As a strongly compressed JPEG or WebP."""
    return encode(image, ("JPEG", "WEBP")[random.integers(2)], int(random.integers(15, 50)))


def cropped(image: Image.Image, random: np.random.Generator) -> bytes:
    """Each side loses up to a tenth."""
    left, top, right, bottom = random.uniform(0.0, 0.1, 4)
    box = (left * image.width, top * image.height, (1 - right) * image.width, (1 - bottom) * image.height)
    return encode(image.crop(tuple(round(edge) for edge in box)))


def flipped(image: Image.Image, random: np.random.Generator) -> bytes:
    """Left and right changed."""
    return encode(ImageOps.mirror(image), quality=int(random.integers(60, 95)))


def recoloured(image: Image.Image, random: np.random.Generator) -> bytes:
    """Brightness, contrast and colour changed by up to a quarter, hue by 4 %."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(0.75, 1.25))
    return encode(_hue(image, int(random.integers(-10, 11))))


def all_at_once(image: Image.Image, random: np.random.Generator) -> bytes:
    """Cropped, smaller, other colours, compressed: as pictures travel."""
    image = Image.open(io.BytesIO(cropped(image, random)))
    image = Image.open(io.BytesIO(recoloured(image, random)))
    image = Image.open(io.BytesIO(resized(image, random)))
    return encode(image, quality=int(random.integers(40, 70)))


EDITS: dict[str, Callable[[Image.Image, np.random.Generator], bytes]] = {
    "resized": resized,
    "re-encoded": reencoded,
    "cropped": cropped,
    "flipped": flipped,
    "recoloured": recoloured,
    "all at once": all_at_once,
}
