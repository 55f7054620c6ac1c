"""What a checkpoint knows of photographs, in every locale that CLDR has names in.

    python -m training.recipes.photos.evaluate CHECKPOINT --photographs FOLDER --data data/emoji

CHECKPOINT is whatever `python -m export` takes. FOLDER holds captioned photographs, see
`training.recipes.photos.photographs`. Three measures:

zero-shot     The things that the captions name are the candidates, by CLDR's names in one locale. A
              photograph counts where its best candidate is among what it shows. Locales with fewer than
              --least names are left out.
retrieval     Each English caption looks for its photograph among all.
by folders    With --folders: each image looks for its folder's name among all folders' names, in English.

It ends with `result: {…}`: `zero_shot_en`, the mean over locales, `locales`, `worst_locale`, `retrieval_r1`
and `retrieval_r10` (image_retrieval_recall@k), and with --folders `folders_top1` and `folders_top5`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.npm_packages import PackageError
from models.files.weights import CheckpointError
from models.loaders import registry
from training.arguments import positive
from training.datasets.rows import DataError
from training.evaluation import metrics
from training.evaluation.embedding import Embedder, LoadedModel, Picture
from training.evaluation.errors import EvaluationError
from training.recipes.mini import data
from training.recipes.mini.dataset import ensure
from training.recipes.photos import photographs
from training.recipes.photos.photographs import Photograph

COMMAND = "training.recipes.photos.evaluate"
LEAST_NAMES = 10


def embed(model: Embedder, images: Sequence[Photograph]) -> Tensor:
    """float32 [N, dim], unit rows."""
    return model.embed_images(Picture(str(one.path), one.path.read_bytes()) for one in images)


def read_shown(
    folder: Path, root: Path, locales: Sequence[str] = ()
) -> tuple[list[Photograph], list[set[str]]]:
    """The photographs of a folder, and the things that each shows, which CLDR has names of.

    Raises:
        DataError: the folder is not of its form, or the data lacks one of these locales.
    """
    unknown = sorted(set(locales) - set(data.locales_of(root)))
    if unknown:
        raise DataError(f"the data has no locale {', '.join(unknown)}")
    captioned = photographs.read_captioned(folder)
    return captioned, photographs.things_in(captioned, english_names(root))


def english_names(root: Path) -> dict[str, str]:
    """CLDR's, by emoji."""
    return {key: str(row["name"]) for key, row in data.read_locale(root, "en").items()}


def zero_shot(
    model: Embedder, images: Tensor, shown: list[set[str]], names: dict[str, str]
) -> dict[str, float]:
    """Share of photographs whose best candidate is something they show.

    images [N, dim]; `shown` what each shows, by key; `names` the candidates' names by key. Photographs that
    show none of the candidates are not asked.
    """
    keys = sorted(names)
    texts = model.embed_texts([names[key] for key in keys])
    asked = [row for row, things in enumerate(shown) if things & names.keys()]
    best = metrics.nearest(images[asked], texts, 5).tolist()
    hits = [
        [keys[column] in shown[row] for column in columns] for row, columns in zip(asked, best, strict=True)
    ]
    return {
        "top1": sum(row[0] for row in hits) / len(hits),
        "top5": sum(any(row) for row in hits) / len(hits),
        "candidates": len(keys),
        "photographs": len(asked),
    }


def by_locale(
    model: Embedder,
    images: Tensor,
    shown: list[set[str]],
    root: Path,
    least: int,
    locales: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """`zero_shot` by CLDR's names in each of the locales, or of all in the data, that has `least` of them."""
    things = set().union(*shown)
    found = {}
    for locale in locales or data.locales_of(root):
        captions = data.read_locale(root, locale)
        names = {key: str(captions[key]["name"]) for key in things if key in captions}
        if len(names) >= least and any(one & names.keys() for one in shown):
            found[locale] = zero_shot(model, images, shown, names)
    return found


def retrieval(model: Embedder, images: Tensor, captioned: Sequence[Photograph]) -> dict[str, float]:
    """image_retrieval_recall@1 and @10 of all captions."""
    texts = [caption for one in captioned for caption in one.captions]
    owner = torch.tensor([row for row, one in enumerate(captioned) for _ in one.captions])
    hits = metrics.retrieval_hits(model.embed_texts(texts), images, owner)
    return {f"r{k}": metrics.mean_of(hits[f"image_retrieval_recall@{k}"]) for k in (1, 10)}


def by_folders(model: Embedder, images: Sequence[Photograph]) -> dict[str, float]:
    """Share of images whose folder's name is the nearest of all, and among the five nearest."""
    names = sorted({one.folder for one in images})
    label = torch.tensor([names.index(one.folder) for one in images])
    vectors, texts = embed(model, images), model.embed_texts(names)
    hits = metrics.nearest(vectors, texts, 5) == label[:, None]
    return {"top1": hits[:, 0].float().mean().item(), "top5": hits.any(1).float().mean().item()}


def evaluate(
    model: Embedder,
    folder: Path,
    root: Path,
    *,
    least: int,
    locales: Sequence[str] = (),
    folders: Path | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """The whole report.

    Raises:
        DataError: a folder is not of its form, a locale is not in the data, or the photographs show too few
            things that have a name.
        EvaluationError: an image cannot be decoded.
    """
    captioned, shown = read_shown(folder, root, locales)
    english = english_names(root)
    images = embed(model, captioned)
    measured = by_locale(model, images, shown, root, least, ["en", *locales] if locales else ())
    if "en" not in measured:
        raise DataError(
            f"{folder}: its captions name fewer than {least} things that CLDR has English names of"
        )
    report: dict[str, Any] = {
        "model": model.name,
        "space": model.space,
        "things": sorted(english[key] for key in set().union(*shown)),
        "locales": measured,
        "retrieval": retrieval(model, images, captioned),
    }
    if folders is not None:
        report["folders"] = by_folders(model, photographs.read_folders(folders, limit))
    return report


def result_of(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of the last line."""
    locales, found = report["locales"], report["retrieval"]
    worst = min(locales, key=lambda locale: locales[locale]["top1"])
    result = {
        "zero_shot_en": locales["en"]["top1"],
        "zero_shot_mean": sum(row["top1"] for row in locales.values()) / len(locales),
        "locales": len(locales),
        "worst_locale": worst,
        "zero_shot_worst": locales[worst]["top1"],
        "candidates_en": locales["en"]["candidates"],
        "photographs": locales["en"]["photographs"],
        "retrieval_r1": found["r1"],
        "retrieval_r10": found["r10"],
    }
    if "folders" in report:
        result |= {f"folders_{name}": value for name, value in report["folders"].items()}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="a folder, a file of weights or hf-hub:ORGANISATION/NAME")
    parser.add_argument("--photographs", type=Path, required=True, help="a folder with captions.json")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--folders", type=Path, help="a folder of images for each class, as Caltech-101 is")
    parser.add_argument("--limit", type=positive, help="images of each folder (default: all)")
    parser.add_argument("--locales", nargs="+", default=[], help="beside English (default: all)")
    parser.add_argument("--least", type=positive, default=LEAST_NAMES, help="names that a locale must have")
    parser.add_argument("--output", type=Path, help="write the whole report as JSON")
    options = parser.parse_args(arguments)
    outputs.check(COMMAND, "--output", options.output)
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    try:
        loaded = registry.load(registry.locate(options.checkpoint))
        model = LoadedModel(loaded, options.checkpoint, torch.device("cpu"))
        report = evaluate(
            model,
            options.photographs,
            ensure(options.data),
            least=options.least,
            locales=options.locales,
            folders=options.folders,
            limit=options.limit,
        )
    except (CheckpointError, DataError, EvaluationError, PackageError) as error:
        sys.exit(f"{COMMAND}: {error}")
    for locale, row in sorted(report["locales"].items(), key=lambda item: -item[1]["top1"]):
        print(f"{locale:8} top-1 {row['top1']:.3f}  top-5 {row['top5']:.3f}  of {row['candidates']} names")
    if options.output:
        with outputs.replacing(options.output) as partial:
            outputs.write_json(partial, report)
    print("result: " + json.dumps(result_of(report)))


if __name__ == "__main__":
    main()
