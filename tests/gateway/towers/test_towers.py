"""The towers behind the gateway: versions, their spaces, promotions and failures, on an engine in memory."""

import asyncio

import numpy as np
import pytest

from babelclip import Call, ItemError, ModelNotFound, SpaceMismatch, Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.embedding import embed
from gateway.errors import ApiError
from gateway.models import Models
from gateway.towers.base import ModelVersion
from tests.gateway.engine import Engine, models, towers

OLD = InMemoryTransport(space="old", version="1.0", dim=8, logit_scale=20.0)
NEW = InMemoryTransport(space="new", version="2.0", dim=16)


def test_the_default_version_is_found_and_described() -> None:
    """Readiness is both towers' golden items, and tells version, space, dimension and logit scale."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        made = towers(engine)
        assert await made.check() == ModelVersion("1.0", "old", 8, 20.0)
        probes = [call for call in engine.calls if EmbedRequest.FromString(call.body).canary]
        assert [call.model for call in probes] == ["text", "vision"]
        assert await made.version("2.0") == ModelVersion("2.0", "new", 16, 50.0)
        assert [version.version for version in made.known()] == ["1.0", "2.0"]
        with pytest.raises(ModelNotFound):
            await made.version("3.0")
        await made.close()

    asyncio.run(run())


def test_items_of_both_kinds_keep_their_places() -> None:
    """Each item goes to its tower, and one that fails costs only itself, wherever it failed."""
    engine = Engine(InMemoryTransport(failing={b"broken": ("image_undecodable", "no image")}))
    broken = ItemError(0, "invalid_item", "no base64")
    items: list[str | bytes | ItemError] = [b"image", "a text", broken, b"broken", "ሰዓት"]

    async def run() -> None:
        version, outcomes = await embed(models(engine).find("clip"), items)
        assert version.space == outcomes.space == "in-memory"
        memory = engine.versions["1.0"]
        expected = [
            memory.vector(item) if item in (b"image", "a text", "ሰዓት") else np.zeros(32) for item in items
        ]
        np.testing.assert_allclose(outcomes.vectors, expected, atol=1e-6)
        assert [(error.index, error.code) for error in outcomes.errors] == [
            (2, "invalid_item"),
            (3, "image_undecodable"),
        ]

    asyncio.run(run())


def test_a_request_stays_in_one_version_while_the_default_changes() -> None:
    """Between the two changes of a promotion no request has its texts in another space than its images."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        chosen = models(engine).find("clip")
        await chosen.towers.check()
        engine.default["vision"] = "2.0"
        _, outcomes = await embed(chosen, ["a", b"b"])
        assert outcomes.space == "old"
        np.testing.assert_allclose(outcomes.vectors, [OLD.vector("a"), OLD.vector(b"b")], atol=1e-6)
        engine.default["text"] = "2.0"
        assert (await chosen.towers.check()).space == "new"
        _, outcomes = await embed(chosen, ["a", b"b"])
        np.testing.assert_allclose(outcomes.vectors, [NEW.vector("a"), NEW.vector(b"b")], atol=1e-6)

    asyncio.run(run())


def test_a_default_that_is_retired_costs_no_request() -> None:
    """A request for the name alone goes to the new default, one for the retired version is told so."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        served = models(engine)
        await embed(served.find("clip"), ["a"])
        engine.default = dict.fromkeys(engine.default, "2.0")
        del engine.versions["1.0"]
        version, outcomes = await embed(served.find("clip"), ["a", b"b"])
        assert (version.version, outcomes.space, outcomes.dim) == ("2.0", "new", 16)
        assert [known.version for known in served.find("clip").towers.known()] == ["2.0"]
        with pytest.raises(ApiError) as caught:
            await embed(served.find("clip@1.0"), ["a"])
        assert (caught.value.status, caught.value.code) == (404, "model_not_found")

    asyncio.run(run())


def test_a_pinned_version_is_served_beside_the_default() -> None:
    """Who named a version keeps getting it."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        version, outcomes = await embed(models(engine).find("clip@2.0"), ["a"])
        assert (version.version, outcomes.space) == ("2.0", "new")

    asyncio.run(run())


def test_another_space_than_the_caller_insists_on_is_refused() -> None:
    """Vectors for an index of another space are an error, and not nonsense."""

    async def run() -> None:
        with pytest.raises(ApiError) as caught:
            await embed(models(Engine(OLD)).find("clip"), ["a"], space="new")
        assert (caught.value.status, caught.value.code) == (409, "space_mismatch")
        assert "old" in caught.value.message

    asyncio.run(run())


def test_towers_of_two_spaces_are_not_ready() -> None:
    """A deployment whose towers do not belong together says so instead of serving."""
    twice = InMemoryTransport(space="other", version="1.0", dim=8)

    class Mixed(Engine):
        async def send(self, call: Call) -> bytes:
            return (OLD if call.model == "text" else twice).send(call)

    async def run() -> None:
        with pytest.raises(SpaceMismatch):
            await towers(Mixed(OLD)).check()

    asyncio.run(run())


def test_a_shorter_deadline_reaches_the_tower() -> None:
    """The tower answers in the time that the caller has, not in what the gateway would allow."""
    engine = Engine()

    async def run() -> None:
        chosen = models(engine).find("clip")
        await chosen.towers.check()
        for timeout, expected in ((None, 30_000), (2.5, 2_500), (90.0, 30_000)):
            await embed(chosen, ["a"], timeout=timeout)
            assert EmbedRequest.FromString(engine.calls[-1].body).timeout_ms == expected

    asyncio.run(run())


def test_questions_for_readiness_at_the_same_time_are_one() -> None:
    """A crowd at the health address is no load on the model."""
    engine = Engine()

    async def run() -> None:
        made = towers(engine)
        await asyncio.gather(*(made.check() for _ in range(50)))
        assert len(engine.calls) == 3

    asyncio.run(run())


def test_an_engine_that_is_away_is_said_to_be_unavailable_without_its_address() -> None:
    """Callers learn that they may try again, and nothing of what stands behind."""
    engine = Engine()

    async def run() -> None:
        served = models(engine)
        await served.find("clip").towers.check()
        engine.fail_with(Unavailable("no answer from 127.0.0.1:7070", retryable=False))
        with pytest.raises(ApiError) as caught:
            await embed(served.find("clip"), ["a"])
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        assert "127.0.0.1" not in caught.value.message
        (found,) = (await served.check()).values()
        assert isinstance(found, Unavailable)

    asyncio.run(run())


def test_a_refused_token_is_the_operators_matter() -> None:
    """A caller with a good key is not told that a key is wrong when it is the gateway's own."""
    engine = Engine()
    engine.token = "secret"

    async def run() -> None:
        with pytest.raises(ApiError) as caught:
            await embed(models(engine).find("clip"), ["a"])
        assert caught.value.status == 503
        assert "token" not in caught.value.message

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "found"),
    [("", ("a", None)), ("a", ("a", None)), ("b", ("b", None)), ("b@1.0", ("b", "1.0"))],
)
def test_models_are_found_by_their_names(name: str, found: tuple[str, str | None]) -> None:
    """The first model is the default, and a version follows the @."""
    chosen = Models({"a": towers(Engine()), "b": towers(Engine())}).find(name)
    assert (chosen.name, chosen.version) == found


@pytest.mark.parametrize("name", ["c", "a@", "@1.0", "a@1.0/../../models", "a@b@c", "a@" + "1" * 65])
def test_unknown_models_are_refused(name: str) -> None:
    """A name leads to a model that is there or to an error, never to another address of the engine."""
    with pytest.raises(ApiError) as caught:
        Models({"a": towers(Engine())}).find(name)
    assert (caught.value.status, caught.value.param) == (404, "model")
