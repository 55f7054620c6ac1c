"""The images of a folder as vectors in files, embedded once for many searches.

    embeddings.npy    float32 [N, dim], a row for each image, each of length 1
    urls.json         N strings: what each row is, the path of the image or where the web has it
    meta.json         the embedding space, dim and logit scale of the vectors, the version of the model that
                      gave them; the images that were skipped

Without meta.json, which is written last, the others are not read: vectors of an unknown space, or of two
runs, would be searched like any others. progress.sqlite beside them is for the next run, which embeds only
what is new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.atomic_files import replacing
from babelclip.client.calls import require_answers
from babelclip.embeddings import Embeddings
from babelclip.search.folder import Skipped, find_images
from babelclip.search.progress import NO_STATE, Kept, open_progress, state_of

if TYPE_CHECKING:
    from babelclip.client.sync import Client

FORMAT = 1
VECTORS, URLS, META = "embeddings.npy", "urls.json", "meta.json"

Progress = Callable[[int, int], None]


class NothingEmbedded(ValueError):
    """There are images, and none of them has a vector; `skipped` says why."""

    def __init__(self, folder: str | os.PathLike[str], count: int, skipped: Sequence[Skipped]) -> None:
        first = skipped[0]
        super().__init__(
            f"none of the {count} images in {os.fspath(folder)} could be embedded; the first, {first.path}:"
            f" {first.code}: {first.message}"
        )
        self.skipped = tuple(skipped)


@dataclass(frozen=True, eq=False)
class Collection:
    """Images and their vectors.

    Attributes:
        embeddings: float32 [N, dim], none of them failed.
        images: N names, what each row is.
        skipped: the files without a vector, by path, and the folders that could not be looked into;
            `overloaded` and `deadline_exceeded` are no fault of the file.
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
    exclude: Iterable[str] = (),
    exclude_defaults: bool = True,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Collection:
    """The images of a folder, and of all folders below it → the three files, and their content.

    An image is named by its path, as `images_folder` begins it; where `NAME.json` lies beside `NAME.jpg` and
    has a text at `urls.small`, as Unsplash's photographs do, by that. Images that cannot be embedded are in
    `skipped` of the result and of meta.json.

    What an earlier run into `output_folder` embedded is not embedded again, whether that run was finished or
    broken off: only new images are, those whose size or time has changed, those that failed, and all of them
    when the model gives vectors of another space. Images that are gone are dropped. The three files are
    replaced when the last image is embedded.

    Args:
        model: any client, of a server or of archives in this process.
        output_folder: made where there is none; files of an earlier run are replaced.
        batch_size: images that are read and sent together, and lost together when the run is broken off.
        exclude, exclude_defaults: which files and folders are left out, see
        `babelclip.search.folder.find_images`.
        progress: called with the images done and all of them, after each batch.
        say: called with a sentence for people, about what is used of an earlier run.

    Raises:
        NothingEmbedded: none of the images could be embedded; it is a ValueError.
        ValueError: there are no images.
        BabelclipError: a batch got no answer; the batches before it are kept.
        OSError: a folder cannot be read or written, or another run is writing to it.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    say = say or _unsaid
    found = find_images(Path(images_folder), exclude=exclude, exclude_defaults=exclude_defaults)
    if not found.images:
        raise ValueError(f"there are no images in {images_folder}{_because(found.skipped)}")
    output = Path(output_folder)
    output.mkdir(parents=True, exist_ok=True)
    with open_progress(output, say) as kept:
        keys = {path: os.fsencode(path.relative_to(images_folder)) for path in found.images}
        failed = _embed(model, keys, kept, batch_size, progress or _uncounted, say, str(output))
        skipped = sorted((*found.skipped, *failed.values()), key=lambda skip: skip.path)
        embedded = [path for path in found.images if path not in failed]
        if not embedded:
            raise NothingEmbedded(images_folder, len(found.images), skipped)
        space = model.space or ""
        embeddings = kept.embeddings(space, [keys[path] for path in embedded])
        names = tuple(_name(path) for path in embedded)
        collection = Collection(embeddings, names, tuple(skipped))
        _write(output, collection)
        if not found.skipped:  # Else images are left that lie where this run could not look.
            kept.keep(space, (keys[path] for path in embedded))
    return collection


def _embed(
    model: Client,
    keys: Mapping[Path, bytes],
    kept: Kept,
    batch_size: int,
    progress: Progress,
    say: Callable[[str], None],
    output: str,
) -> dict[Path, Skipped]:
    """Embeds the images that `kept` has not, and adds them; returns those that have no vector."""
    # Asked first: with nothing left to embed, no answer would show that the model is another one.
    space = model.space or model.health(towers=("vision",))
    known = kept.states(space)
    others = [other for other in kept.spaces() if other != space]
    states = {path: state_of(path) for path in keys}
    waiting = [path for path, state in states.items() if state is None or known.get(keys[path]) != state]
    done = len(keys) - len(waiting)
    if known:
        say(f"{done} of {len(keys)} images are embedded already, by an earlier run")
    elif others:
        say(
            f"{output} has vectors of the space {others[0]}, and this model gives {space}: all images are"
            " embedded anew"
        )
    failed: dict[Path, Skipped] = {}
    for start in range(0, len(waiting), batch_size):
        batch = waiting[start : start + batch_size]
        found = model.embed_images(batch, errors="return")
        failed |= {batch[e.index]: Skipped(str(batch[e.index]), e.code, e.message) for e in found.errors}
        rows = zip(batch, found.vectors, found.ok, strict=True)
        # A state from before the file was read: what is written meanwhile is embedded by the next run.
        good = [(keys[path], states[path] or NO_STATE, vector) for path, vector, ok in rows if ok]
        if good:
            kept.add(found, good)
        require_answers(found)
        progress(done + start + len(batch), len(keys))
    return failed


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


def _because(skipped: Sequence[Skipped]) -> str:
    return f"; {skipped[0].message}" if skipped else ""


def _unsaid(_: str) -> None: ...


def _uncounted(_: int, __: int) -> None: ...


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
    with replacing(folder / VECTORS, folder / URLS, folder / META) as (vectors, urls, described):
        with vectors.open("wb") as file:
            np.save(file, embeddings.vectors)
        urls.write_bytes(json.dumps(collection.images, indent=1).encode())
        described.write_bytes(json.dumps(meta, indent=1).encode())
