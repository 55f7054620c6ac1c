"""Images with annotations in COCO's layout: one JSON file of captions, or of categories, beside a folder."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from babelclip.ingest.sources.base import Entry, fingerprint_of, path_fingerprint, path_name, read_path
from babelclip.search.folder import Skipped


class CocoSource:
    """The images that an annotations file names; the caption is the first one, metadata has all of them.

    Args:
        images: where they are; unless given beside the file, or, for `annotations/captions_val2017.json`, in
            `val2017` beside `annotations`.

    Raises:
        ValueError: the file is none of COCO's.
        OSError: it cannot be read.
    """

    def __init__(self, annotations: Path, *, images: Path | None = None, name: str = "") -> None:
        self._annotations = annotations
        self._name = name
        try:
            raw = json.loads(annotations.read_bytes())
            self._images = [(str(one["file_name"]), str(one["id"])) for one in raw["images"]]
            categories = {one["id"]: str(one["name"]) for one in raw.get("categories", ())}
            self._captions: dict[str, list[str]] = defaultdict(list)
            self._categories: dict[str, set[str]] = defaultdict(set)
            for one in raw.get("annotations", ()):
                if "caption" in one:
                    self._captions[str(one["image_id"])].append(str(one["caption"]).strip())
                if one.get("category_id") in categories:
                    self._categories[str(one["image_id"])].add(categories[one["category_id"]])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{annotations} does not hold COCO's annotations: {error!r}") from error
        self._folder = images or self._guessed()

    @property
    def collection(self) -> str:
        """The name that was given, or the path of the annotations."""
        return self._name or path_name(self._annotations)

    def total(self) -> int | None:
        """How many images the file names."""
        return len(self._images)

    def entries(self) -> Iterator[Entry]:
        """As they stand in the file."""
        for file_name, id_ in self._images:
            path = self._folder / file_name
            captions, categories = self._captions.get(id_, []), sorted(self._categories.get(id_, ()))
            metadata: dict[str, Any] = {"coco_id": id_}
            if captions:
                metadata["captions"] = captions
            if categories:
                metadata["categories"] = categories
            fingerprint = path_fingerprint(path)
            notes = fingerprint_of("", metadata)
            yield Entry(
                path_name(path),
                fingerprint and f"{fingerprint}-{notes}",
                functools.partial(read_path, path),
                captions[0] if captions else "",
                metadata,
            )

    def skipped(self) -> Sequence[Skipped]:
        """Nothing: all stands in one file."""
        return ()

    def could_list(self, source: str) -> bool:
        """Always."""
        return True

    def _guessed(self) -> Path:
        beside = self._annotations.parent
        split = self._annotations.stem.rpartition("_")[2]
        first = self._images[0][0] if self._images else ""
        for folder in (beside, beside / "images", beside.parent / split, beside.parent / "images" / split):
            if (folder / first).is_file():
                return folder
        return beside
