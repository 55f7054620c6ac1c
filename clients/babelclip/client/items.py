"""What a caller may pass as a text or an image, and how each becomes the bytes that travel.

An encoded image is sent exactly as it is: a client that re-encodes changes the vector. Only pixels, from
numpy or Pillow, are encoded here, without loss. Anything wrong with an item is an ItemError in
its place, never an exception, so that one broken file does not cost a folder.
"""

from __future__ import annotations

import binascii
import io
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from babelclip import errors
from babelclip.item_errors import ItemError
from babelclip.wire import largest_item, oversized

if TYPE_CHECKING:
    from PIL import Image

# An encoded image, the path of one, or pixels: a Pillow image or uint8 [H, W, 3] (RGB) or [H, W] (grey).
ImageInput: TypeAlias = (
    "bytes | bytearray | memoryview | str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"
)

# The modes that a PNG holds without loss. Wider grey values (the modes I… and F) go into a TIFF; what is left
# are other ways to say RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# Modes whose transparency a conversion to RGB would drop, and a PNG's mode that keeps it.
_ALPHA_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}
_ORIENTATION_TAG = 0x0112
# Where an image's orientation may stand once Pillow has read it.
_ORIENTATION_NOTES = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1")

_DATA_URI = re.compile(r"data:image/[\w.+-]*;base64,", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.ASCII | re.IGNORECASE)
_SHOWN = 200  # characters of a path that a message shows


def text_items(texts: Iterable[str]) -> Iterator[bytes | ItemError]:
    """Texts → UTF-8, in order; `invalid_item` for what is no str, `invalid_utf8` for a lone surrogate.

    Raises:
        TypeError: `texts` is a single text.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("pass a list of texts, not one text")
    return (text_item(index, text) for index, text in enumerate(texts))


def image_items(images: Iterable[ImageInput], max_message_bytes: int) -> Iterator[bytes | ItemError]:
    """Images of any accepted kind → encoded images, in order, each read only when it is asked for.

    A text `data:image/...;base64,…` is one too.

    Items that fail get `unreadable_file`, `image_too_many_bytes` (more than a message can carry),
    `image_undecodable` (a Pillow image whose pixels cannot be loaded) or `invalid_item`.

    Raises:
        TypeError: `images` is a single image.
        ImportError: there are pixels to encode and Pillow is not installed.
    """
    if is_one_image(images):
        raise TypeError("pass a list of images, not one image")
    return (image_item(index, image, max_message_bytes) for index, image in enumerate(images))


def is_one_image(images: object) -> bool:
    """Whether what should be many images is a single one."""
    if isinstance(images, np.ndarray):
        many = images.ndim > 3 or (images.ndim > 0 and images.dtype.kind in "OU")  # U: paths
        return not many
    return isinstance(images, str | bytes | bytearray | memoryview | os.PathLike) or _is_pillow(images)


def text_item(index: int, text: object) -> bytes | ItemError:
    """One text, as in `text_items`."""
    if not isinstance(text, str):
        return ItemError(index, errors.INVALID_ITEM, f"a text must be a str, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        return ItemError(
            index,
            errors.INVALID_UTF8,
            f"character {error.start} is half of a surrogate pair, which UTF-8 cannot hold",
        )


def image_item(index: int, image: object, max_message_bytes: int) -> bytes | ItemError:
    """One image, as in `image_items`; it may read a file.

    Raises:
        ImportError: there are pixels to encode and Pillow is not installed.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str) and _URL.match(image):
        return _data_uri(index, image)
    if isinstance(image, str | os.PathLike):
        return _file(index, image, max_message_bytes)
    if isinstance(image, np.ndarray):
        return _array(index, image)
    if _is_pillow(image):
        return _encode(index, image)
    return ItemError(
        index,
        errors.INVALID_ITEM,
        "an image must be bytes, a path, a Pillow image or a uint8 array, not " + type(image).__name__,
    )


def _data_uri(index: int, uri: str) -> bytes | ItemError:
    head = _DATA_URI.match(uri)
    if head is None:
        return ItemError(
            index,
            errors.INVALID_ITEM,
            "an address is not an image, and nothing is fetched: pass the image's bytes, its path, or"
            " data:image/...;base64,",
        )
    try:
        return binascii.a2b_base64(uri[head.end() :], strict_mode=True)
    except ValueError:  # binascii.Error is one; so is the error of a string that is not ASCII.
        return ItemError(index, errors.INVALID_ITEM, "what follows ;base64, is not valid base64")


def _file(index: int, path: str | os.PathLike[str], max_message_bytes: int) -> bytes | ItemError:
    try:
        # Non-blocking, and a look at the kind before reading: opening a pipe would wait for a writer forever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return ItemError(index, errors.UNREADABLE_FILE, f"{_shown(path)} is no regular file")
            if status.st_size > largest_item(max_message_bytes):
                return oversized("vision", index, status.st_size, max_message_bytes)
            return file.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:  # A path with a NUL character, or one the file system's encoding cannot hold.
        reason = str(error)
    return ItemError(index, errors.UNREADABLE_FILE, f"cannot read {_shown(path)}: {reason}")


def _shown(path: str | os.PathLike[str]) -> str:
    # A picture in base64 that was passed as a path would fill the message.
    name = os.fspath(path)
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"


def _is_pillow(image: object) -> bool:
    # Whoever holds a Pillow image has imported Pillow; for everybody else it stays unimported.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def _array(index: int, array: NDArray[Any]) -> bytes | ItemError:
    rgb = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (array.ndim == 2 or rgb) or 0 in array.shape:
        shape = ", ".join(str(length) for length in array.shape)
        return ItemError(
            index,
            errors.INVALID_ITEM,
            f"an array must be uint8 [H, W, 3] (RGB) or [H, W] (grey), not {array.dtype} [{shape}]",
        )
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "sending pixels needs Pillow: pip install 'babelclip[images]'; or send encoded images or paths"
        ) from error
    return _encode(index, Image.fromarray(array))


def _encode(index: int, image: Any) -> bytes | ItemError:
    buffer = io.BytesIO()
    try:
        upright = _upright(image)
        if upright.mode in _ALPHA_MODES:
            upright = upright.convert(_ALPHA_MODES[upright.mode])
        if upright.mode in _PNG_MODES:
            upright.save(buffer, "PNG", compress_level=1)
        elif upright.mode.startswith(("I", "F")):
            upright.save(buffer, "TIFF")
        else:
            upright.convert("RGB").save(buffer, "PNG", compress_level=1)
    except Exception as error:  # Pillow loads late, and its decoders raise nearly anything on broken data.
        return ItemError(
            index, errors.IMAGE_UNDECODABLE, f"the pixels of the image cannot be read: {_sentence(error)}"
        )
    return buffer.getvalue()


def _upright(image: Any) -> Any:
    """PNG has no agreed place for the orientation, so what a camera noted is applied to the pixels.

    Pillow's own ImageOps.exif_transpose writes all the notes anew, and fails over those that it cannot write.
    """
    from PIL import Image

    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # Broken notes are no reason to refuse sound pixels.
        return image
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
    operation = turns.get(orientation) if isinstance(orientation, int) else None
    if operation is None:
        return image
    turned = image.transpose(operation)
    for note in _ORIENTATION_NOTES:
        turned.info.pop(note, None)
    return turned


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
