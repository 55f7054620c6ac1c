"""Zero-shot classification: which of some labels, in any language, an image shows; or none of them.

animals = Classifier(client, ["kočka", "pes", "kůň"], language="cs", calibration=read_calibration("…"))
dog, none = animals.classify(["1.jpg", "2.jpg"])
dog.label, dog.probability, none.label  # "pes", 0.93, None
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from babelclip.client.items import ImageInput
from babelclip.embeddings import Embeddings, Vectors
from babelclip.item_errors import ItemError
from babelclip.search.calibration import Calibration
from babelclip.search.ranking import softmax
from babelclip.search.templates import PLACEHOLDER, built_in_templates
from babelclip.similarity import similarity

if TYPE_CHECKING:
    from babelclip.client.sync import Client

THRESHOLD = 0.5
"""The least probability of a match at which there is a label."""


@dataclass(frozen=True)
class Classification:
    """What one image shows.

    Attributes:
        label: the best label; None where none of them matches, or the image failed.
        probability: of the best label among the labels, from 0 to 1: the softmax of logit scale × cosine.
        match: with a calibration, the probability that the best label matches at all.
        best: the best label, also where it is no match; None where the image failed.
        cosines: by label.
        error: why the image has no vector.
        probabilities: by label; they sum to 1.
    """

    label: str | None
    probability: float
    match: float | None
    best: str | None
    cosines: dict[str, float]
    error: ItemError | None = None
    probabilities: dict[str, float] = field(default_factory=dict)


class Classifier:
    """Labels, embedded once. Safe to use from several threads.

    Each label is put into every template; the label's vector is the mean of those of the sentences, of length
    1 again (Radford et al., 2021, section 3.1.4).

    Args:
        client: a client of a server, or of archives in this process.
        labels: at least one, all different.
        templates: sentences with one `{c}` or `{}` each; `("{c}",)`, the label alone, unless `language` is
            given.
        language: takes the built-in sentences in that language, by ISO 639-1 code; a model that is told the
            language of texts is told it.
        calibration: what a cosine means for this model; without it there is always a label.
        threshold: the least `match` at which a classification has a label.

    Raises:
        ValueError: labels, templates, language or threshold cannot be used.
        SpaceMismatch: the calibration is of another space.
        ItemErrors, BabelclipError: as in `Client.embed_texts`.
    """

    def __init__(
        self,
        client: Client,
        labels: Sequence[str],
        *,
        templates: Sequence[str] | None = None,
        language: str | None = None,
        calibration: Calibration | None = None,
        threshold: float = THRESHOLD,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, not {threshold}")
        sentences = label_sentences(labels, templates, language)
        self.labels = list(labels)
        self._client = client
        self._calibration = calibration
        self._threshold = threshold
        self._vectors = label_embeddings(client.embed_texts(sentences, language=language), len(self.labels))
        if calibration is not None:
            calibration.require(self._vectors.space)

    def classify(self, images: Embeddings | Iterable[ImageInput]) -> list[Classification]:
        """N images, or their embeddings → N classifications, in order; a failed image's has its error.

        Raises:
            SpaceMismatch: the images' vectors are of another space than the labels'.
            BabelclipError: as in `Client.embed_images`.
        """
        rows = (
            images if isinstance(images, Embeddings) else self._client.embed_images(images, errors="return")
        )
        return classify_embeddings(rows, self.labels, self._vectors, self._calibration, self._threshold)


def label_sentences(
    labels: Sequence[str], templates: Sequence[str] | None = None, language: str | None = None
) -> list[str]:
    """L labels, each put into T templates → L · T sentences, those of a label together.

    Raises:
        ValueError: labels, templates or language cannot be used.
    """
    if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
        raise ValueError("labels must be a list of at least one label, each of which stands once")
    sentences = _templates(templates, language)
    return [sentence.replace(PLACEHOLDER, label) for label in labels for sentence in sentences]


def label_embeddings(sentences: Embeddings, labels: int) -> Embeddings:
    """Vectors of the sentences of `label_sentences` → of the labels: the mean of each, of length 1 again."""
    means = sentences.vectors.reshape(labels, -1, sentences.dim).mean(axis=1)
    vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return Embeddings(vectors, sentences.space, sentences.logit_scale, version=sentences.version)


def classify_embeddings(
    items: Embeddings,
    labels: Sequence[str],
    label_vectors: Embeddings,
    calibration: Calibration | None = None,
    threshold: float = THRESHOLD,
) -> list[Classification]:
    """N items and L labels, embedded → N classifications, as `Classifier` has them.

    Raises:
        SpaceMismatch: the items' vectors are of another space than the labels'.
    """
    cosines = similarity(items, label_vectors)
    errors = {error.index: error for error in items.errors}
    answers = []
    for index, (row, shares) in enumerate(
        zip(cosines, softmax(label_vectors.logit_scale * cosines), strict=True)
    ):
        if index in errors:
            answers.append(Classification(None, 0.0, None, None, {}, errors[index]))
            continue
        best = int(row.argmax())
        match = None
        if calibration is not None:
            match = float(calibration.probability(row[best], candidates=len(labels)))
        answers.append(
            Classification(
                label=labels[best] if match is None or match >= threshold else None,
                probability=float(shares[best]),
                match=match,
                best=labels[best],
                cosines=dict(zip(labels, row.tolist(), strict=True)),
                probabilities=dict(zip(labels, shares.tolist(), strict=True)),
            )
        )
    return answers


def _templates(templates: Sequence[str] | None, language: str | None) -> Sequence[str]:
    if language is not None:
        if templates is not None:
            raise ValueError("give templates or a language, not both")
        known = built_in_templates()
        if language not in known:
            raise ValueError(
                f"there are no built-in templates in {language!r}; there are in {', '.join(known)}"
            )
        return known[language]
    if templates is None:
        return (PLACEHOLDER,)
    sentences = () if isinstance(templates, str) else [t.replace("{}", PLACEHOLDER) for t in templates]
    if not sentences or any(sentence.count(PLACEHOLDER) != 1 for sentence in sentences):
        raise ValueError(f"templates must be a list of sentences with one {PLACEHOLDER} or {{}} each")
    return sentences
