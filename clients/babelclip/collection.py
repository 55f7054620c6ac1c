"""The images of a folder as vectors in files, embedded once for many searches.

    embeddings.npy    float32 [N, dim], a row for each image, each of length 1
    urls.json         N strings: what each row is, the path of the image or where the web has it
    meta.json         the embedding space, dim and logit scale of the vectors, the version of the model that
                      gave them; the images that were skipped

Without meta.json, which is written last, the others are not read: vectors of an unknown space, or of two
runs, would be searched like any others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.folder import find_images

if TYPE_CHECKING:
    from babelclip.client import Client

FORMAT = 1
VECTORS, URLS, META = "embeddings.npy", "urls.json", "meta.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Skipped:
    """A file that has no vector: its path, a word for programs, a sentence for people."""

    path: str
    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """The same, by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Collection:
    """Images and their vectors.

    Attributes:
        embeddings: float32 [N, dim], none of them failed.
        images: N names, what each row is.
        skipped: the files without a vector, by path; `overloaded` is no fault of the file.
    """

    embeddings: Embeddings
    images: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def generate_embeddings(
    model: Client,
    images_folder: str | os.PathLike[str],
    output_folder: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Collection:
    """The images of a folder, and of all folders below it → the three files, and their content.

    An image is named by its path, as `images_folder` begins it; where `NAME.json` lies beside `NAME.jpg` and
    has a text at `urls.small`, as Unsplash's photographs do, by that. Images that cannot be embedded are in
    `skipped` of the result and of meta.json. Nothing is written before the last image is embedded.

    Args:
        model: any client, of a server or of archives in this process.
        output_folder: made where there is none; files of an earlier run are replaced.
        batch_size: images that are read and sent together.
        progress: called with the images done and all of them, after each batch.

    Raises:
        ValueError: there are no images, or none of them could be embedded.
        BabelclipError: a batch got no answer.
        OSError: a folder cannot be read or written.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    files = find_images(Path(images_folder))
    if not files:
        raise ValueError(f"there are no images in {images_folder}")
    output = Path(output_folder)
    output.mkdir(parents=True, exist_ok=True)
    rows: list[Vectors] = []
    names: list[str] = []
    skipped: list[Skipped] = []
    for start in range(0, len(files), batch_size):
        batch = files[start : start + batch_size]
        found = model.embed_images(batch, errors="return")
        embedded = found[found.ok]
        rows.append(embedded.vectors)
        names += [_name(path) for path, ok in zip(batch, found.ok, strict=True) if ok]
        skipped += [Skipped(str(batch[e.index]), e.code, e.message) for e in found.errors]
        if progress is not None:
            progress(start + len(batch), len(files))
    if not names:
        first = skipped[0]
        raise ValueError(
            f"none of the {len(files)} images in {images_folder} could be embedded; the first,"
            f" {first.path}: {first.code}: {first.message}"
        )
    # A batch of which nothing could be sent has rows of no length.
    vectors = np.concatenate([part for part in rows if len(part)])
    embeddings = Embeddings(vectors, found.space, found.logit_scale, version=found.version)
    collection = Collection(embeddings, tuple(names), tuple(skipped))
    _write(output, collection)
    return collection


def read_collection(path: str | os.PathLike[str]) -> Collection:
    """What `generate_embeddings` wrote, by the folder or by the path of its embeddings.npy.

    Raises:
        ValueError: files are missing, broken, or contradict each other.
        OSError: a file cannot be read.
    """
    folder = Path(path)
    if folder.name == VECTORS:
        folder = folder.parent
    if not (folder / META).is_file():
        raise ValueError(
            f"{folder} has no {META}, so the space of its vectors is unknown: write them again with"
            " generate_embeddings, or pass the array itself if it is of this model"
        )
    try:
        meta = json.loads((folder / META).read_bytes())
        if meta["format"] != FORMAT:
            raise ValueError(f"{META} is not of format {FORMAT}")
        names = json.loads((folder / URLS).read_bytes())
        vectors = np.load(folder / VECTORS, allow_pickle=False)
        if vectors.dtype != np.float32 or vectors.shape != (meta["images"], meta["dim"]):
            raise ValueError(f"{VECTORS} is not float32 [{meta['images']}, {meta['dim']}] as {META} says")
        if not isinstance(names, list) or len(names) != len(vectors):
            raise ValueError(f"{URLS} is no list of {len(vectors)} names")
        # Files of an earlier release name no version.
        version = str(meta.get("version", ""))
        embeddings = Embeddings(vectors, str(meta["space"]), float(meta["logit_scale"]), version=version)
        skipped = tuple(Skipped(**one) for one in meta["skipped"])
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is not complete: {Path(error.filename).name} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} does not hold what generate_embeddings writes: {error}") from error
    return Collection(embeddings, tuple(str(name) for name in names), skipped)


def _name(image: Path) -> str:
    """The path of an image, or the address that a description in Unsplash's layout beside it gives."""
    try:
        url = json.loads(image.with_suffix(".json").read_bytes())["urls"]["small"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return str(image)
    return url if isinstance(url, str) else str(image)


def _write(folder: Path, collection: Collection) -> None:
    """The three files, each whole or not at all; meta.json is there only beside files of the same run."""
    embeddings = collection.embeddings
    meta: dict[str, Any] = {"format": FORMAT, "space": embeddings.space, "dim": embeddings.dim}
    meta |= {"logit_scale": embeddings.logit_scale, "images": len(embeddings), "version": embeddings.version}
    meta["skipped"] = [skip.as_json() for skip in collection.skipped]
    (folder / META).unlink(missing_ok=True)
    with _replacing(folder / VECTORS) as file:
        np.save(file, embeddings.vectors)
    with _replacing(folder / URLS) as file:
        file.write(json.dumps(collection.images, indent=1).encode())
    with _replacing(folder / META) as file:
        file.write(json.dumps(meta, indent=1).encode())


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        yield file
    os.replace(partial, path)
