"""Which version a name means, for both towers at once, and the share of sessions that gets another."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from babelclip import Call, ModelNotFound, RegistryError, SpaceMismatch
from babelclip.shadow.traffic_split import TrafficSplit
from babelclip.testing import InMemoryTransport
from gateway.access.account import ACCOUNT, Account
from gateway.embedding import embed
from gateway.errors import ApiError
from gateway.keys import Caller
from gateway.versions import ModelVersions
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.three_versions import NEW, NEXT, OLD, switched, version_of


def test_a_name_means_what_the_file_says_for_both_towers_at_once(tmp_path: Path) -> None:
    """The switch is one step, whatever the engine's defaults are; who named a version keeps it."""
    engine = Engine(OLD, NEW, NEXT)

    async def run() -> None:
        models = switched(engine, tmp_path)
        assert await version_of(models) == "1.0"
        await models.towers["clip"].promote("2.0")
        assert await version_of(models) == "2.0"
        engine.default["vision"] = "3.0"
        assert await version_of(models) == "2.0"
        assert await version_of(models, "clip@1.0") == "1.0"
        assert models.towers["clip"].known()[0].version == "2.0"
        assert (await models.towers["clip"].check()).version == "2.0"
        await models.towers["clip"].rollback()
        assert await version_of(models) == "1.0"
        await models.towers["clip"].rollback()
        assert await version_of(models) == "2.0"

    asyncio.run(run())


def test_a_version_that_is_not_proved_is_not_promoted(tmp_path: Path) -> None:
    """A tower that fails, or is missing, or of another space, leaves everybody where they are."""
    engine = Engine(OLD, NEW)
    other = InMemoryTransport(space="other", version="4.0", dim=16)

    class Mixed(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            return other.send(call) if call.model == "text" else super().send(call)

    engine.versions["4.0"] = Mixed(space="mixed", version="4.0", dim=16)

    async def run() -> None:
        models = switched(engine, tmp_path)
        with pytest.raises(ModelNotFound):
            await models.towers["clip"].promote("9.0")
        with pytest.raises(SpaceMismatch):
            await models.towers["clip"].promote("4.0")
        with pytest.raises(RegistryError, match="nothing to roll back to"):
            await models.towers["clip"].rollback()
        assert models.towers["clip"].decided() == ModelVersions()
        assert not (tmp_path / "versions.json").exists()

    asyncio.run(run())


def test_requests_during_promotions_are_never_mixed(tmp_path: Path) -> None:
    """Texts and images of every request are of one version, however often the name changes its meaning."""
    engine = Engine(OLD, NEW)

    async def pause(call: Call) -> None:
        await asyncio.sleep(0)

    engine.during = pause

    async def run() -> None:
        models = switched(engine, tmp_path)
        seen: set[str] = set()

        async def ask() -> None:
            while True:
                seen.add(await version_of(models))

        callers = [asyncio.create_task(ask()) for _ in range(8)]
        for version in ["2.0", "1.0"] * 10:
            await models.towers["clip"].promote(version)
            seen.clear()
            while version not in seen:  # Those who began before may still have the other one.
                assert not any(caller.done() for caller in callers)
                await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        for ended in await asyncio.gather(*callers, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError)

    asyncio.run(run())


def test_a_version_that_is_gone_is_the_operators_matter(tmp_path: Path) -> None:
    """A caller who named no version is told to try again, and not that the name is wrong."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        models = switched(engine, tmp_path, version="2.0")
        assert await version_of(models) == "2.0"
        del engine.versions["2.0"]
        with pytest.raises(ApiError) as caught:
            await embed(models.find("clip"), ["a"])
        assert caught.value.status == 503
        (found,) = (await models.check()).values()
        assert "2.0" in str(found)

    asyncio.run(run())


def test_a_canary_has_its_share_of_sessions_and_each_session_one_version(tmp_path: Path) -> None:
    """A session changes no sides while the share stands, and one that has the canary keeps it as it grows."""
    engine = Engine(OLD, NEW)
    sessions = [f"user {number}" for number in range(200)]

    async def run() -> None:
        models = switched(engine, tmp_path, version="1.0", canary=TrafficSplit("2.0", 0.3))
        first = [await version_of(models, session=session) for session in sessions]
        assert [await version_of(models, session=session) for session in sessions] == first
        assert 30 < first.count("2.0") < 90
        assert await version_of(models) == "1.0"
        assert await version_of(models, "clip@1.0", session=sessions[first.index("2.0")]) == "1.0"
        await models.towers["clip"].canary("2.0", 0.6)
        wider = [await version_of(models, session=session) for session in sessions]
        assert all(now == "2.0" for now, before in zip(wider, first, strict=True) if before == "2.0")
        assert wider.count("2.0") > first.count("2.0")
        await models.towers["clip"].promote("2.0")
        assert models.towers["clip"].decided() == ModelVersions("2.0", "1.0")

    asyncio.run(run())


def test_a_canary_that_is_gone_costs_nobody_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sessions get what the others get, and the log says so once."""
    engine = Engine(OLD, NEW)

    async def run() -> None:
        models = switched(engine, tmp_path, canary=TrafficSplit("2.0", 1.0))
        assert await version_of(models, session="anybody") == "2.0"
        del engine.versions["2.0"]
        assert await version_of(models, session="anybody") == "1.0"
        for _ in range(2):
            (found,) = (await models.check()).values()
            assert getattr(found, "version", "") == "1.0"

    asyncio.run(run())
    assert caplog.text.count("the canary 2.0 of clip does not embed") == 1


@pytest.mark.parametrize("what", ["canary", "shadow"])
def test_a_candidate_must_be_served_and_another_one(tmp_path: Path, what: str) -> None:
    """A share for a version that is not there, or that all have, is refused; 0 ends it without asking."""

    async def run() -> None:
        candidate: dict[str, Any] = {what: TrafficSplit("9.0", 0.5)}
        models = switched(Engine(OLD, NEW), tmp_path, **candidate)
        change = getattr(models.towers["clip"], what)
        with pytest.raises(ModelNotFound):
            await change("8.0", 0.5)
        with pytest.raises(RegistryError, match="already"):
            await change("1.0", 0.5)
        split: dict[str, Any] = {what: TrafficSplit("2.0", 0.5)}
        assert (await change("2.0", 0.5)) == ModelVersions(**split)
        assert (await change("9.0", 0)) == ModelVersions()

    asyncio.run(run())


def test_a_copy_in_the_shadow_is_no_keys(tmp_path: Path) -> None:
    """The key of the first request that is copied does not pay with its limits for all that follow."""
    engine = Engine(OLD, NEW, NEXT)
    callers: dict[str | None, Account | None] = {}

    async def during(call: Call) -> None:
        callers[call.version] = ACCOUNT.get()

    async def run() -> None:
        models = switched(engine, tmp_path, version="1.0", shadow=TrafficSplit("3.0", 1.0))
        await version_of(models)
        await version_of(models, "clip@3.0")
        callers.clear()
        engine.during = during
        account = Account(Caller("shop"), lambda key, limit: None)
        ACCOUNT.set(account)
        await version_of(models)
        while "3.0" not in callers:
            await asyncio.sleep(0.001)
        assert callers == {"1.0": account, "3.0": None}
        await models.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
