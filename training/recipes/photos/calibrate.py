"""What a checkpoint's cosines mean for photographs: the curves by which a search says that nothing fits.

    python -m training.recipes.photos.calibrate training/recipes/photos/checkpoint \\
        --data data/emoji --output training/recipes/photos/calibration.json

of texts     CLDR's names of what the captions name, in English and the languages of the questions, with the
             photographs that show it, and with all others
of images    parts of the photographs (0.7 of each side) with their own photograph, and with all others

The file is what a gateway's `calibrations` names, and `babelclip search` reads. It is of the checkpoint's
space: other heads need their own. It ends with `result: {…}`: the cosines at which a text and an image, alone
with one other candidate, are as likely to fit as not, and the pairs that each was measured on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from babelclip.search.calibration import Calibration, fit_calibration
from babelclip.search.measure import picture_parts
from babelclip.search.relevance import SearchCalibration
from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.npm_packages import PackageError
from models.files.weights import CheckpointError
from models.loaders import registry
from training.datasets.rows import DataError
from training.evaluation.embedding import Embedder, LoadedModel, Picture
from training.evaluation.errors import EvaluationError
from training.recipes.mini import data
from training.recipes.mini.dataset import ensure
from training.recipes.photos import evaluate, questions
from training.recipes.photos.photographs import Photograph

COMMAND = "training.recipes.photos.calibrate"


def of_texts(
    model: Embedder, images: Tensor, shown: Sequence[set[str]], root: Path, locales: Sequence[str]
) -> Calibration:
    """Of names in these locales with images [N, dim], whose row n shows the things `shown[n]`.

    Raises:
        ValueError: fewer than 20 pairs belong together, or none do not.
    """
    things = sorted(set().union(*shown))
    matches, others = [], []
    for locale in locales:
        captions = data.read_locale(root, locale)
        named = [key for key in things if key in captions]
        cosines = model.embed_texts([str(captions[key]["name"]) for key in named]) @ images.T
        fits = torch.tensor([[key in each for each in shown] for key in named])
        matches.append(cosines[fits])
        others.append(cosines[~fits])
    return fit_calibration(model.space, torch.cat(matches).numpy(), torch.cat(others).numpy())


def of_images(model: Embedder, images: Tensor, captioned: Sequence[Photograph]) -> Calibration:
    """Of parts of the photographs with images [N, dim].

    Raises:
        ValueError: there are fewer than 20 photographs.
    """
    parts = picture_parts([one.path.read_bytes() for one in captioned])
    found = model.embed_images(
        Picture(str(one.path), part) for one, part in zip(captioned, parts, strict=True)
    )
    cosines = (found @ images.T).numpy()
    own = np.eye(len(cosines), dtype=bool)
    return fit_calibration(model.space, cosines[own], cosines[~own])


def calibrate(model: Embedder, folder: Path, root: Path, locales: Sequence[str]) -> SearchCalibration:
    """Both curves.

    Raises:
        DataError: a folder is not of its form, a locale is not in the data, or too little belongs together.
        EvaluationError: an image cannot be decoded.
    """
    captioned, shown = evaluate.read_shown(folder, root, locales)
    images = evaluate.embed(model, captioned)
    try:
        text = of_texts(model, images, shown, root, locales)
        image = of_images(model, images, captioned)
    except ValueError as error:
        raise DataError(f"{folder}: {error}") from error
    return SearchCalibration(model.space, text=text, image=image)


def result_of(made: SearchCalibration) -> dict[str, float]:
    """The figures of the last line."""
    found: dict[str, float] = {}
    for kind, curve in (("text", made.text), ("image", made.image)):
        assert curve is not None
        found |= {f"{kind}_half": round(-curve.offset / curve.slope, 4), f"{kind}_pairs": curve.pairs}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="a folder, a file of weights or hf-hub:ORGANISATION/NAME")
    parser.add_argument(
        "--photographs", type=Path, default=questions.SAMPLES, help="a folder with captions.json"
    )
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--locales", nargs="+", help="of the names (default: English and the questions')")
    parser.add_argument("--output", type=Path, default=Path("calibration.json"), help="the file to write")
    options = parser.parse_args(arguments)
    outputs.check(COMMAND, "--output", options.output)
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    try:
        root = ensure(options.data)
        asked = {question.language for question in questions.read(questions.SAMPLES)[0]}
        loaded = registry.load(registry.locate(options.checkpoint))
        model = LoadedModel(loaded, options.checkpoint, torch.device("cpu"))
        made = calibrate(model, options.photographs, root, options.locales or sorted({"en", *asked}))
    except (CheckpointError, DataError, EvaluationError, PackageError) as error:
        sys.exit(f"{COMMAND}: {error}")
    with outputs.replacing(options.output) as partial:
        made.save(partial)
    print("result: " + json.dumps(result_of(made)))


if __name__ == "__main__":
    main()
