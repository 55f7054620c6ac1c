"""Errors on their way from one process to another, as pools of processes send them."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from babelclip import AsyncClient, Client, Embeddings, ItemError, errors
from babelclip.errors import BabelclipError, ItemErrors, ManifestError, RequestRefused, Unavailable

FAILED = (ItemError(1, "image_truncated", "it ends too early"),)
EMBEDDINGS = Embeddings(np.eye(2, dtype=np.float32), "space", 20.0, errors=FAILED)


def every_error() -> list[BabelclipError]:
    """One of each class."""
    found: list[BabelclipError] = [
        RequestRefused("too_many_items", "send fewer"),
        ItemErrors(FAILED, EMBEDDINGS),
        Unavailable("died", retryable=False),
    ]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    plain = [kind for kind in kinds if issubclass(kind, BabelclipError) and kind not in map(type, found)]
    return found + [kind("what happened") for kind in plain]


def raise_it(number: int) -> None:
    """What a pool's process does."""
    raise every_error()[number]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_error_survives_being_sent(error: BabelclipError) -> None:
    """It arrives as it was, with all that a program reads of it."""
    received = copy.deepcopy(error)  # as pickle does it
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert {**vars(received), "embeddings": None} == {**vars(error), "embeddings": None}


def test_a_pool_of_processes_reports_what_happened() -> None:
    """Over an error that cannot be made anew, Python gives up the whole pool, or waits for it forever."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(RequestRefused) as caught:
            pool.submit(raise_it, 0).result()
        assert caught.value.code == "too_many_items"
        with pytest.raises(ItemErrors) as several:
            pool.submit(raise_it, 1).result()
        assert several.value.errors == FAILED
        assert several.value.embeddings.vectors.tolist() == EMBEDDINGS.vectors.tolist()


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_client_says_that_it_stays(client: type[Client]) -> None:
    """Spark, Ray or a spawned process that is handed one: a sentence that says what to send instead."""
    with pytest.raises(TypeError, match="Send the other process its address"):
        pickle.dumps(client("http://127.0.0.1:1", token="secret"))


def test_the_tree_is_whole() -> None:
    """The list above has every class there is."""
    assert {type(error) for error in every_error()} > {ManifestError}
