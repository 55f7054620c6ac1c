"""The registry: what each change tells the server, in which order, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from babelclip import RegistryError
from tests.clients.management_server import TOWERS
from tests.clients.operated import Operated, make_store

BOTH = {"text": "2.0", "vision": "2.0"}


def test_an_addition_is_served_beside_the_default(world: Operated) -> None:
    """The new pair is registered and proved by both transports, and nobody is sent to it yet."""
    with world.registry() as registry:
        registry.add(world.new)
    text, vision = world.archives("2.0")
    assert world.server.changes == [f"RegisterModel text {text}", f"RegisterModel vision {vision}"]
    assert world.server.defaults == {"text": "1.0", "vision": "1.0"}
    assert [(e["version"], e["default"]) for e in world.manifest()["spaces"]] == [
        ("1.0", True),
        ("2.0", False),
    ]
    assert "unproved" not in world.manifest()["spaces"][1]
    assert world.manifest()["theirs"] == {"kept": 1}
    # Once by each transport.
    assert sorted(world.server.embedded) == [("text", "2.0")] * 2 + [("vision", "2.0")] * 2
    with world.registry() as registry:
        assert not [check for check in registry.verify() if check.problem]


def test_an_addition_gets_as_many_workers_as_the_default_has(world: Operated) -> None:
    """A promotion never moves the load of several workers to one."""
    with world.registry() as registry:
        registry.scale("1.0", 3)
        registry.add(world.new)
    for tower in TOWERS:
        assert len(world.server.models[tower]["2.0"].pids) == 3


def test_a_named_pair_is_added(world: Operated, tmp_path: Path) -> None:
    """Of a store with several entries an operator chooses one; without a name it is the default."""
    other = make_store(tmp_path / "other", "3.0", name="large")
    document = json.loads((world.new / "manifest.json").read_text())
    entry = json.loads((other / "manifest.json").read_text())["spaces"][0]
    document["spaces"].append({**entry, "default": False})
    (world.new / "manifest.json").write_text(json.dumps(document))
    for archive in other.glob("*.mar"):
        archive.rename(world.new / archive.name)
    with world.registry() as registry:
        registry.add(world.new, name="large")
        assert [one.version for one in registry.list().versions] == ["1.0", "3.0"]


def test_a_promotion_moves_both_towers_after_it_is_noted(world: Operated) -> None:
    """Defaults change only after the canaries, one right after the other, with the intent on disk before."""
    world.renew(added=True)
    noted: list[Any] = []
    for tower in TOWERS:
        world.server.before[f"SetDefault {tower} 2.0"] = lambda: noted.append(world.manifest()["promoting"])
    with world.registry() as registry:
        registry.promote("2.0")
    assert world.server.changes == ["SetDefault text 2.0", "SetDefault vision 2.0"]
    assert world.server.calls[-2:] == world.server.changes
    assert noted == [{"from": "1.0", "to": "2.0"}] * 2
    document = world.manifest()
    assert "promoting" not in document
    assert document["previous"] == "1.0"
    assert [entry["default"] for entry in document["spaces"]] == [False, True]


def test_a_promotion_brings_back_what_the_server_lost(world: Operated) -> None:
    """A version that the manifest has and the server has not is registered and awaited first."""
    world.renew(added=True)
    for tower in TOWERS:
        del world.server.models[tower]["2.0"]
    with world.registry() as registry:
        registry.promote("2.0")
    text, vision = world.archives("2.0")
    assert world.server.changes == [
        *(f"RegisterModel text {text}", f"RegisterModel vision {vision}"),
        *("SetDefault text 2.0", "SetDefault vision 2.0"),
    ]


def test_a_promotion_twice_changes_nothing_more(world: Operated) -> None:
    """An operator who is not sure whether it worked runs it again."""
    world.promote()
    before = world.state()
    with world.registry() as registry:
        registry.promote("2.0")
    assert world.state() == before


@pytest.mark.parametrize("sick", [True, False])
def test_a_version_that_is_not_as_exported_is_not_promoted(world: Operated, sick: bool) -> None:
    """A tower with another vector, or workers that never load, end the promotion with nothing changed."""
    world.renew(added=True)
    before = world.state()
    (world.server.sick if sick else world.server.unloadable).add("2.0")
    words = "another vector than when it was exported" if sick else "2.0 cannot be loaded"
    with world.registry() as registry, pytest.raises(RegistryError, match=words):
        registry.promote("2.0")
    assert {**world.state(), "files": before["files"]} == before


def test_a_rollback_goes_to_the_previous_default_and_back(world: Operated) -> None:
    """Rolling back twice is where it began; the version rolled back from stays served."""
    world.promote()
    with world.registry() as registry:
        registry.rollback()
        assert world.server.defaults == {"text": "1.0", "vision": "1.0"}
        assert world.manifest()["previous"] == "2.0"
        registry.rollback()
    assert world.server.defaults == BOTH


def test_a_retirement_waits_and_takes_both_towers(world: Operated) -> None:
    """Requests that wait are waited for; then the towers go, the entry, and with `delete` the archives."""
    world.promote()
    mars = world.archives("1.0")
    world.server.models["vision"]["1.0"].pending = [3, 2, 0, 1, 0]
    with world.registry() as registry:
        registry.retire("1.0", quiet=0.0, delete=True)
    assert not world.server.models["vision"].keys() - {"2.0"}
    assert world.server.changes == ["UnregisterModel text 1.0", "UnregisterModel vision 1.0"]
    assert [entry["version"] for entry in world.manifest()["spaces"]] == ["2.0"]
    assert not {"previous", "deleting"} & world.manifest().keys()
    assert not any((world.store / mar).exists() for mar in mars)
    with world.registry() as registry, pytest.raises(RegistryError, match="nothing to roll back to"):
        registry.rollback()


def test_a_retirement_keeps_the_archives_unless_asked(world: Operated) -> None:
    """What can be added again costs nobody an export."""
    world.promote()
    mars = world.archives("1.0")
    with world.registry() as registry:
        registry.retire("1.0", quiet=0.0)
    assert all((world.store / mar).exists() for mar in mars)


def test_by_default_a_retirement_waits_one_response_timeout(world: Operated) -> None:
    """Nobody sees what a worker computes; after its responseTimeout, or two minutes, there is nothing."""
    world.promote()
    with world.registry() as registry:
        assert "for 60 seconds" in registry.retire("1.0", dry_run=True)[0]


def test_scaling_is_of_both_towers(world: Operated) -> None:
    """More and fewer workers, and never of one tower alone."""
    with world.registry() as registry:
        for workers in (3, 1):
            registry.scale("1.0", workers)
            assert [len(world.server.models[tower]["1.0"].pids) for tower in TOWERS] == [workers] * 2
        with pytest.raises(ValueError, match="at least 1 worker"):
            registry.scale("1.0", 0)


def test_a_dry_run_changes_nothing(world: Operated) -> None:
    """The plan of every change is read from the server, and neither it nor the store is touched."""
    world.promote()
    make_store(world.new.with_name("newer"), "3.0")
    before = world.state()
    with world.registry() as registry:
        plans = [
            registry.add(world.new.with_name("newer"), dry_run=True),
            registry.promote("1.0", dry_run=True),
            registry.rollback(dry_run=True),
            registry.retire("1.0", delete=True, dry_run=True),
            registry.scale("1.0", 2, dry_run=True),
        ]
    assert [len(plan) for plan in plans] == [8, 6, 6, 5, 1]
    assert world.state() == before
    assert world.server.changes == []


def test_verify_finds_a_wrong_vector_and_a_wrong_default(world: Operated) -> None:
    """Each tower is asked by each address, and both defaults are compared with the manifest."""
    world.renew(added=True)
    with world.registry() as registry:
        assert len(registry.verify()) == 10
        assert not any(check.problem for check in registry.verify())
        world.server.sick.add("2.0")
        world.server.defaults["vision"] = "2.0"
        problems = [check.what for check in registry.verify() if check.problem]
        assert len([what for what in problems if what.startswith("canary of text 2.0")]) == 2
        assert problems[-1] == "default of the vision tower"
        assert len(problems) == 3
        assert [c.what for c in registry.verify("1.0") if c.problem] == ["default of the vision tower"]


def test_the_list_says_what_is_wrong_and_how_to_mend_it(world: Operated) -> None:
    """Defaults of two spaces, strangers on the server and unfinished changes each come with a remark."""
    world.renew(added=True)
    with world.registry() as registry:
        found = registry.list()
        assert found.remarks == ()
        state = found.versions[1].towers["text"]
        assert state is not None
        assert (state.ready, state.workers, state.pending, state.memory) == (1, 1, 0, 1_000_000)
        world.server.defaults["text"] = "2.0"
        (remark,) = registry.list().remarks
        assert "the text tower answers with 2.0" in remark
        assert "`babelclip models promote 1.0`" in remark
        del world.server.models["vision"]["2.0"]
        assert registry.list().versions[1].towers["vision"] is None
        document = world.manifest()
        document["spaces"].pop()
        (world.store / "manifest.json").write_text(json.dumps(document))
        assert "the server has text 2.0, which the manifest does not know" in registry.list().remarks
