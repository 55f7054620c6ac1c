"""The seam between the gateway and what computes: items of a tower → an outcome for each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from babelclip import Embeddings
from babelclip.wire import Tower


@dataclass(frozen=True)
class ModelVersion:
    """A pair of towers of one embedding space.

    Attributes:
        version: its name at the engine; empty where the engine has no versions.
        space: fingerprint of the embedding space.
        dim: values in a vector.
        logit_scale: what to multiply a cosine by before a softmax over candidates.
        languages: what texts may be said to be in, by BCP 47, the default first; none where the model is told
            none.
    """

    version: str
    space: str
    dim: int
    logit_scale: float
    languages: tuple[str, ...] = ()


class Towers(Protocol):
    """The two towers of one model, in all versions that are served. Used within one event loop."""

    async def version(self, name: str | None = None) -> ModelVersion:
        """The version of that name, or the default one: the same for both towers.

        Raises:
            ModelNotFound: there is no such version.
            BabelclipError: the engine could not be asked.
        """
        ...

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        """Texts, or encoded images → float32 [N, D] and the error of each item that has no vector.

        Args:
            language: that of texts, by BCP 47; "" for the model's default.
            timeout: seconds that the caller waits, where that is less than the engine's own limit.

        Raises:
            ModelNotFound: the version is not served any more; `version` then finds what is.
            SpaceMismatch: the version is now one of another space; the same.
            BabelclipError: the engine gave no usable answer.
        """
        ...

    async def check(self, name: str | None = None) -> ModelVersion:
        """Ask both towers of a version, the default one unless named, for their golden items → the version.

        Raises:
            ModelNotFound: there is no such version.
            BabelclipError: a tower is not ready, or they are of two spaces.
        """
        ...

    def known(self) -> list[ModelVersion]:
        """The versions that were served when last asked for; the default one first."""
        ...

    async def close(self) -> None:
        """Give connections back; no call follows."""
        ...
