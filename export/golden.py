"""Golden inputs of the parity gate: texts in many scripts, images of every kind that arrives in practice.

Most images are drawn here, from a seed: shapes and gradients with the statistics of pictures, in the formats,
modes, orientations and proportions that decoders treat differently. Six are photographs.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

TEXTS = {
    "en": "a red heart",
    "en-long": "an old man with a white beard is riding a bicycle past the school in the rain, and a "
    "dog runs behind him, barking at the postman who has just left a parcel at the bakery",
    "en-word": "dog",
    "de": "ein lachendes Gesicht mit Sonnenbrille",
    "fr": "une tasse de café chaud",
    "es": "un gato negro durmiendo",
    "pt": "bandeira ao vento",
    "it": "una fetta di pizza",
    "pl": "żółta łódź podwodna",
    "tr": "güneşli bir gün",
    "vi": "một ly cà phê sữa đá",
    "ru": "чашка кофе на столе",
    "uk": "синьо-жовтий прапор",
    "el": "ένα ποτήρι κρασί",
    "he": "כלב רץ על החוף",
    "ar": "قطة نائمة على السرير",
    "fa": "گل سرخ در باغ",
    "ur": "چاند اور ستارے",
    "hi": "विद्यालय में बच्चे",
    "bn": "একটি লাল গোলাপ",
    "ta": "ஒரு சிவப்பு பந்து",
    "te": "పాఠశాల బస్సు",
    "th": "ช้างตัวใหญ่",
    "my": "နေဝင်ချိန်",
    "km": "ផ្ទះក្រហម",
    "ka": "წითელი ვაშლი",
    "hy": "ձյունոտ լեռ",
    "am": "ቡና ሲፈላ",
    "ja": "寿司と緑茶",
    "ko": "비 오는 날의 우산",
    "zh": "一只猫坐在窗台上",
    "zh-Hant": "學校的圖書館",
    "sw": "simba mkubwa",
    "emoji": "🐕 🐈",
    "digits": "10:30, 25 °C",
    "unknown": "𓀀𓁐 ꙮ",
}


def picture(seed: int, width: int, height: int) -> Image.Image:
    """An RGB picture of blurred shapes over a gradient."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = random.uniform(0, width), random.uniform(0, height)
        reach = random.uniform(0.05, 0.35) * min(width, height)
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x - reach, y - reach, x + reach, y + reach), fill=tuple(random.integers(0, 256, 3).tolist()))
    return image.filter(ImageFilter.GaussianBlur(min(width, height) / 200))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG whose EXIF tag says that the camera was held in one of the eight ways."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(picture(30 + orientation, 320, 200), "JPEG", exif=exif, quality=92)


def with_alpha() -> bytes:
    image = picture(50, 200, 200).convert("RGBA")
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((20, 20, 180, 180), fill=255)
    image.putalpha(mask.filter(ImageFilter.GaussianBlur(8)))
    return encode(image, "PNG")


def sixteen_bit() -> bytes:
    grey = np.asarray(picture(51, 160, 120).convert("L"), dtype=np.uint16) * 257
    return encode(Image.fromarray(grey), "PNG")


def animation(kind: str) -> bytes:
    frames = [picture(60 + i, 96, 96) for i in range(3)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


SPECIAL_IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(picture(1, 640, 480), "JPEG", quality=90),
    "jpeg-progressive": lambda: encode(picture(2, 640, 480), "JPEG", quality=80, progressive=True),
    "jpeg-grey": lambda: encode(picture(3, 300, 300).convert("L"), "JPEG"),
    "jpeg-cmyk": lambda: encode(picture(4, 300, 200).convert("CMYK"), "JPEG"),
    "jpeg-444": lambda: encode(picture(5, 333, 251), "JPEG", quality=95, subsampling=0),
    "png": lambda: encode(picture(6, 256, 256), "PNG"),
    "png-palette": lambda: encode(picture(7, 128, 128).quantize(32), "PNG"),
    "png-alpha": with_alpha,
    "png-16-bit": sixteen_bit,
    "png-one-bit": lambda: encode(picture(8, 120, 120).convert("1"), "PNG"),
    "webp": lambda: encode(picture(9, 400, 300), "WEBP", quality=85),
    "bmp": lambda: encode(picture(10, 90, 70), "BMP"),
    "tiff": lambda: encode(picture(11, 150, 150), "TIFF"),
    "gif-animated": lambda: animation("GIF"),
    "webp-animated": lambda: animation("WEBP"),
    "tall": lambda: encode(picture(12, 40, 900), "PNG"),
    "wide": lambda: encode(picture(13, 900, 40), "PNG"),
    "tiny": lambda: encode(picture(14, 9, 7), "PNG"),
    "one-pixel": lambda: encode(Image.new("RGB", (1, 1), (200, 30, 30)), "PNG"),
    "white": lambda: encode(Image.new("RGB", (64, 64), "white"), "PNG"),
    "large": lambda: encode(picture(15, 1920, 1280), "JPEG", quality=85),
}


def texts(languages: Sequence[str] = ()) -> dict[str, str]:
    """Texts by name; with `languages`, those of each and the ones that are of none."""
    asked = {language.partition("-")[0] for language in languages}
    named = {name: name.partition("-")[0] for name in TEXTS}
    of_none = ("emoji", "digits")
    return {
        name: text for name, text in TEXTS.items() if not asked or named[name] in asked or name in of_none
    }


def photographs() -> dict[str, bytes]:
    """JPEGs of 640×480 by name; NOTICE says whose they are."""
    folder = Path(__file__).parent / "photographs"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


@cache
def images() -> Mapping[str, bytes]:
    """Encoded images by name; drawn once, as several parts of an export ask for them."""
    found = {name: make() for name, make in SPECIAL_IMAGES.items()}
    found |= {f"exif-{i}": turned(i) for i in range(1, 9)}
    found |= photographs()
    found |= {f"picture-{i}": encode(picture(100 + i, 224, 224), "PNG") for i in range(8)}
    return MappingProxyType(found)
