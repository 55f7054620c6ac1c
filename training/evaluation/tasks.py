"""The tasks: a model, a data set and languages in; a result a language out.

Images are embedded once, whatever the number of languages. A linear probe knows no language.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from training.evaluation import linear_probe as probe
from training.evaluation import metrics, zero_shot
from training.evaluation.caption_files import RetrievalData
from training.evaluation.datasets import WebDataset
from training.evaluation.embedding import Embedder
from training.evaluation.errors import EvaluationError
from training.evaluation.labelled_images import LabelledImages
from training.evaluation.languages import canonical
from training.evaluation.results import Result

RETRIEVAL = "zeroshot_retrieval"
CLASSIFICATION = "zeroshot_classification"
LINEAR_PROBE = "linear_probe"


def retrieval(
    model: Embedder, data: RetrievalData, languages: Sequence[str], *, seed: int = 0
) -> Iterator[Result]:
    """Texts look for images and images for texts, in each language.

    Raises:
        EvaluationError: see the data set and the model. Captions are read before anything is embedded.
    """
    captions = {canonical(language): data.captions(language) for language in languages}
    images = model.embed_images(data.pictures())
    for language, texts_of in captions.items():
        texts = [text for texts in texts_of for text in texts]
        owners = torch.tensor([image for image, texts in enumerate(texts_of) for _ in texts])
        hits = metrics.retrieval_hits(model.embed_texts(texts), images, owners)
        yield Result(
            dataset=data.name,
            model=model.name,
            pretrained=model.pretrained,
            task=RETRIEVAL,
            metrics={name: metrics.mean_of(hit) for name, hit in hits.items()},
            language=language,
            intervals={name: metrics.interval(hit, seed=seed) for name, hit in hits.items()},
            space=model.space,
            items={"images": len(images), "texts": len(texts)},
        )


def classification(
    model: Embedder, data: WebDataset, languages: Sequence[str], *, seed: int = 0
) -> Iterator[Result]:
    """Images look for the names of their classes, in each language.

    Raises:
        EvaluationError: see the data set and the model; also where languages name different numbers of
            classes. Names are read before anything is embedded.
    """
    words = {canonical(code): (data.classes(code), data.templates(code)) for code in languages}
    counts = {code: len(names) for code, (names, _) in words.items()}
    if len(set(counts.values())) > 1:
        raise EvaluationError(f"{data.folder}: the languages differ in their numbers of classes: {counts}")
    labels = data.labels(next(iter(counts.values())))
    images = model.embed_images(data.pictures())
    for language, (names, templates) in words.items():
        classes = zero_shot.class_embeddings(model.embed_texts, names, templates)
        values, intervals = scores(zero_shot.logits(images, classes), labels, seed=seed)
        yield Result(
            dataset=data.name,
            model=model.name,
            pretrained=model.pretrained,
            task=CLASSIFICATION,
            metrics=values,
            language=language,
            intervals=intervals,
            space=model.space,
            items={"images": len(images), "classes": len(names), "templates": len(templates)},
        )


def scores(
    logits: Tensor, labels: Tensor, *, seed: int = 0
) -> tuple[dict[str, float], dict[str, metrics.Interval]]:
    """The metrics and their intervals; of images with several classes mean_average_precision, without one.

    logits float [N, C]; labels int64 [N] or bool [N, C].
    """
    if labels.ndim == 2:
        return {"mean_average_precision": metrics.mean_average_precision(logits, labels)}, {}
    hits = metrics.classification_hits(logits, labels)
    groups = labels.numpy()
    values = {name: metrics.mean_of(hit) for name, hit in hits.items()}
    intervals = {name: metrics.interval(hit, seed=seed) for name, hit in hits.items()}
    values["mean_per_class_recall"] = metrics.mean_of(hits["acc1"], groups)
    intervals["mean_per_class_recall"] = metrics.interval(hits["acc1"], groups, seed=seed)
    return values, intervals


def linear_probe(
    model: Embedder,
    train: LabelledImages,
    test: LabelledImages,
    validation: LabelledImages | None = None,
    *,
    val_proportion: float = 0.2,
    own_language: str = "en",
    seed: int = 0,
) -> Result:
    """A logistic regression on the images' vectors learns the classes of `train` and is asked for `test`'s.

    Without a split for validation, `val_proportion` of the training images is it. The metrics have the names
    that CLIP_benchmark gives them, the language is the one it writes.

    Raises:
        EvaluationError: see the data set, the model and `training.evaluation.linear_probe`; also where images
            have several classes, or one of `test` is of a class that no image to learn from has.
    """
    names = train.classes(own_language)
    labels = {
        split: _single(data, len(names))
        for split, data in (("train", train), ("test", test), ("val", validation))
        if data is not None
    }
    known = np.unique(np.concatenate([labels["train"], labels.get("val", labels["train"])]))
    unknown = [names[label] for label in np.setdiff1d(labels["test"], known)]
    if unknown:
        raise EvaluationError(f"{train.name}: no image to learn from is of the class {unknown[0]!r}")

    def embedded(data: LabelledImages, split: str) -> probe.Labelled:
        vectors = model.embed_images(data.pictures())
        return probe.Labelled(vectors.double().numpy(), labels[split])

    learnt = embedded(train, "train")
    if validation is None:
        rows, held = probe.split(learnt.labels, val_proportion, seed)
        parts = learnt.take(rows), learnt.take(held)
    else:
        parts = learnt, embedded(validation, "val")
    strength, best = probe.best_strength(*parts, len(names))
    final = probe.fit(parts[0].join(parts[1]), len(names), strength)
    asked = embedded(test, "test")
    logits = torch.from_numpy(final.logits(asked.features))
    values, intervals = scores(logits, torch.from_numpy(asked.labels), seed=seed)
    return Result(
        dataset=train.name,
        model=model.name,
        pretrained=model.pretrained,
        task=LINEAR_PROBE,
        metrics={f"lp_{name}": value for name, value in values.items()},
        language="en",
        intervals={f"lp_{name}": interval for name, interval in intervals.items()},
        space=model.space,
        items={"images": len(asked), "classes": len(names), "train": len(parts[0]), "val": len(parts[1])},
        settings={"C": strength, "val_acc1": best, "seed": seed},
    )


def _single(data: LabelledImages, classes: int) -> probe.Labels:
    labels = data.labels(classes)
    if labels.ndim != 1:
        raise EvaluationError(f"{data.name}: a linear probe takes images of one class each, not of several")
    return labels.numpy()
