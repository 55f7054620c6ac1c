"""Where the parts of collections meet: the threads, the store, the models, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from babelclip import Embeddings
from babelclip.errors import SpaceMismatch
from babelclip.index import IndexBusy, IndexNotFound, InvalidFilter, SearchIndexError, Settings
from gateway.access.account import may_use
from gateway.collections.names import not_found
from gateway.collections.store import Opened, Store
from gateway.collections.threads import Threads
from gateway.embedding import Item, embed
from gateway.errors import MODEL_NOT_FOUND, UNAVAILABLE, ApiError, malformed
from gateway.metrics import Metrics
from gateway.models import Chosen, Models

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

READERS = 4
"""Threads for what only reads: searches and the rows of items."""
WRITERS = 2
"""Threads for what changes: a long change keeps no search waiting."""


class Calls:
    """What every call on collections needs.

    Attributes:
        store: the collections.
        metrics: count what is embedded, and the jobs.
        reading, writing: the threads of either kind.
    """

    def __init__(self, store: Store, models: Models, metrics: Metrics) -> None:
        self.store = store
        self.models = models
        self.metrics = metrics
        self.reading = Threads("collections-read", READERS)
        self.writing = Threads("collections-write", WRITERS)

    async def read(
        self, work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What a call that only reads returns, made in a thread.

        Raises:
            ApiError: it failed, or too many wait.
            SpaceMismatch: the collection has just become one of another space.
        """
        return await self.reading.call(lambda: _told(work, *given, **named))

    async def write(
        self, work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """The same of one that changes something."""
        return await self.writing.call(lambda: _told(work, *given, **named))

    def require(self, name: str) -> None:
        """Raises ApiError where the key of the present call may not know of a collection of this name."""
        if not may_use(name):
            raise not_found(name)

    async def find(self, name: str) -> tuple[Opened, Settings]:
        """The collection of a name, and its settings as they are now.

        Raises:
            ApiError: there is none.
        """

        self.require(name)

        def found() -> tuple[Opened, Settings]:
            opened = self.store.find(name)
            return opened, opened.index.settings

        return await self.read(found)

    def model_of(self, opened: Opened, settings: Settings) -> Chosen:
        """The model whose vectors a collection holds, in that version, whatever is promoted.

        Raises:
            ApiError: the gateway has no such model any more.
        """
        name = opened.record.model
        return self.models.find(f"{name}@{settings.version}" if settings.version else name)

    async def embed(
        self,
        opened: Opened,
        settings: Settings,
        items: Sequence[Item],
        timeout: float | None = None,
        language: str = "",
    ) -> Embeddings:
        """Vectors of the space of a collection; waits for its turn and counts as any embedding does.

        Args:
            language: that of the texts, by BCP 47; "" for the model's default.

        Raises:
            ApiError: the request fails as a whole.
        """
        chosen = self.model_of(opened, settings)
        return await self.embed_by(chosen, settings.space, items, timeout, language)

    async def embed_by(
        self,
        chosen: Chosen,
        space: str,
        items: Sequence[Item],
        timeout: float | None = None,
        language: str = "",
    ) -> Embeddings:
        """Vectors by a version of a model, as long as that is of the space.

        Raises:
            ApiError: the request fails as a whole.
        """
        try:
            version, found = await embed(chosen, items, language=language, space=space, timeout=timeout)
        except ApiError as error:
            if error.code != MODEL_NOT_FOUND:
                raise
            message = (
                f"the collection is of {chosen.name}@{chosen.version}, which is not served any more:"
                " migrate it to a version that is"
            )
            raise ApiError(409, MODEL_NOT_FOUND, message, param="collection") from error
        self.metrics.items(chosen.name, items, found)
        return replace(found, version=version.version)

    def close(self) -> None:
        """Ends the threads, and lets go of all indexes."""
        self.reading.close()
        self.writing.close()
        self.store.close()


def _told(work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs) -> Result:
    """What `work` returns; what an index says of a mistake becomes what the caller is told."""
    try:
        return work(*given, **named)
    except SpaceMismatch:
        raise
    except InvalidFilter as error:
        raise malformed(str(error), "filter") from None
    except IndexBusy as error:
        message = "another process is at the same change; try again"
        raise ApiError(409, "index_busy", message, retry_after=5) from error
    except IndexNotFound as error:
        raise ApiError(503, UNAVAILABLE, "the collection has no index at the moment") from error
    except SearchIndexError as error:
        message = "the collection's index cannot be used at the moment"
        raise ApiError(503, UNAVAILABLE, message, retry_after=5) from error
