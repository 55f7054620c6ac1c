"""Zero-shot classification: which of some labels, in any language, an image shows; or none of them.

animals = Classifier(client, ["kočka", "pes", "kůň"], language="cs", calibration=read_calibration("…"))
dog, none = animals.classify(["1.jpg", "2.jpg"])
dog.label, dog.probability, none.label  # "pes", 0.93, None
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """

    label: str | None
    probability: float
    match: float | None
    best: str | None
    cosines: dict[str, float]
    error: ItemError | None = None


class Classifier:
    """Labels, embedded once. Safe to use from several threads.

    Each label is put into every template; the label's vector is the mean of those of the sentences, of length
    1 again (Radford et al., 2021, section 3.1.4).

    Args:
        client: a client of a server, or of archives in this process.
        labels: at least one, all different.
        templates: sentences with one `{c}` each; `("{c}",)`, the label alone, unless `language` is given.
        language: takes the built-in sentences in that language, by ISO 639-1 code.
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
        threshold: float = 0.5,
    ) -> None:
        if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
            raise ValueError("labels must be a list of at least one label, each of which stands once")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, not {threshold}")
        sentences = _sentences(templates, language)
        self.labels = list(labels)
        self._client = client
        self._calibration = calibration
        self._threshold = threshold
        found = client.embed_texts(
            [s.replace(PLACEHOLDER, label) for label in self.labels for s in sentences]
        )
        means = found.vectors.reshape(len(self.labels), len(sentences), found.dim).mean(axis=1)
        vectors: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        self._vectors = Embeddings(vectors, found.space, found.logit_scale, version=found.version)
        if calibration is not None:
            calibration.require(found.space)

    def classify(self, images: Embeddings | Iterable[ImageInput]) -> list[Classification]:
        """N images, or their embeddings → N classifications, in order; a failed image's has its error.

        Raises:
            SpaceMismatch: the images' vectors are of another space than the labels'.
            BabelclipError: as in `Client.embed_images`.
        """
        rows = (
            images if isinstance(images, Embeddings) else self._client.embed_images(images, errors="return")
        )
        cosines = similarity(rows, self._vectors)
        errors = {error.index: error for error in rows.errors}
        return [self._answer(row, errors.get(index)) for index, row in enumerate(cosines)]

    def _answer(self, cosines: Vectors, error: ItemError | None) -> Classification:
        if error is not None:
            return Classification(None, 0.0, None, None, {}, error)
        best = int(cosines.argmax())
        probability = float(softmax(self._vectors.logit_scale * cosines[None])[0, best])
        match = None
        if self._calibration is not None:
            match = float(self._calibration.probability(cosines[best], candidates=len(self.labels)))
        label = self.labels[best] if match is None or match >= self._threshold else None
        by_label = {name: float(cosine) for name, cosine in zip(self.labels, cosines, strict=True)}
        return Classification(label, probability, match, self.labels[best], by_label)


def _sentences(templates: Sequence[str] | None, language: str | None) -> Sequence[str]:
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
    if isinstance(templates, str) or not templates or any(t.count(PLACEHOLDER) != 1 for t in templates):
        raise ValueError(f"templates must be a list of sentences with one {PLACEHOLDER} each")
    return templates
