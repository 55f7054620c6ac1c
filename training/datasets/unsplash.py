"""Unsplash photos for search: `images/<id>.jpg`, and beside each `<id>.json` with its addresses.

They have no captions and are not trained on: a search over them shows `urls.small`. Images may also be .jpeg,
.png or .webp.

    python -m training.datasets.unsplash fetch FOLDER

fetches some of the public list, see `training.datasets.unsplash_fetch`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.datasets.examples import ImageFile, Packed, files_below
from training.datasets.rows import DataError, LeftOut, checked_text, json_document

IMAGES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True, slots=True)
class Photo:
    key: str  # Unsplash's id
    url: str  # of the small size
    image: ImageFile

    def read(self, most: int = -1) -> bytes:
        """The encoded image, see ImageFile.read. Raises OSError."""
        return self.image.read(most)


class Photos(Packed[Photo]):
    @staticmethod
    def pack(item: Photo) -> list[Any]:
        return [item.key, item.url, item.image.path]

    @staticmethod
    def unpack(fields: list[Any]) -> Photo:
        key, url, path = fields
        return Photo(key, url, ImageFile(path))


def read(folder: Path, *, strict: bool = True) -> Photos:
    """The photos below `folder`/images, in the order of their ids.

    The JSON may also lie in `folder` itself.

    Raises:
        DataError: there is no folder images, or strict and a photo's JSON is missing or lacks `urls.small`.
    """
    left_out = LeftOut(strict=strict)
    images = folder / "images"
    present = files_below(images)
    photos = []
    for name in sorted(present):
        stem, _, kind = name.rpartition(".")
        if kind.lower() not in IMAGES:
            continue
        beside = images / f"{stem}.json"
        about = beside if f"{stem}.json" in present else folder / f"{stem}.json"
        try:
            found = json_document(about)
        except DataError as error:
            left_out.fault(str(images / name), "no description", str(error))
            continue
        urls = found.get("urls") if isinstance(found, dict) else None
        small = urls.get("small") if isinstance(urls, dict) else None
        url, wrong = checked_text(small, "urls.small") if isinstance(small, str) else ("", "no urls.small")
        if wrong:
            left_out.fault(str(about), "no address", "it must have the text urls.small")
        else:
            photos.append(Photo(stem, url, ImageFile(str(images / name))))
    return Photos(photos, left_out)


if __name__ == "__main__":
    from training.datasets.unsplash_fetch import main

    main()
