"""The registry, killed at every moment: what is left is sound, and one command mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from babelclip import Registry, RegistryError
from babelclip.model_store.manifest import read_manifest
from tests.clients.management_server import TOWERS, Refused
from tests.clients.operated import Operated
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # starts processes and kills them

Change = Callable[[Registry], object]
Kill = pytest.mark.parametrize("when", ["before", "after"])


def promote(registry: Registry) -> object:
    return registry.promote("2.0")


def retire(registry: Registry) -> object:
    return registry.retire("2.0", quiet=0.0, delete=True)


def undisturbed(world: Operated, change: Change, *, added: bool = False) -> dict[str, Any]:
    """How things stand after the change when nothing happens to it."""
    world.renew(added=added)
    return again(world, change)


def again(world: Operated, change: Change) -> dict[str, Any]:
    """Run the change to its end; how things stand then."""
    with world.registry() as registry:
        change(registry)
    return world.state()


def test_every_moment_is_tried(world: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the tests below from passing because nothing is killed any more."""
    counts = [
        len(list(world.every_kill(change, when="before", patch=monkeypatch, added=added)))
        for change, added in ((lambda r: r.add(world.new), False), (promote, True), (retire, True))
    ]
    # Calls and written files: of each more than there are steps in its plan.
    assert all(found > steps for found, steps in zip(counts, (8, 6, 5), strict=True)), counts


@Kill
@pytest.mark.parametrize("restarted", [False, True])
def test_an_addition_killed_anywhere_is_finished_by_running_it_again(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str, restarted: bool
) -> None:
    """Whether the server went on or crashed too, the same command ends as if nothing had happened."""

    def add(registry: Registry) -> object:
        return registry.add(world.new)

    expected = undisturbed(world, add)
    for _ in world.every_kill(add, when=when, patch=monkeypatch):
        assert read_manifest(world.store).default.version == "1.0"
        if restarted:
            world.restart_server()
        assert again(world, add) == expected


@Kill
def test_an_addition_killed_anywhere_can_be_undone(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """An operator who changes their mind retires what was entered, and nothing of it stays."""
    for _ in world.every_kill(lambda registry: registry.add(world.new), when=when, patch=monkeypatch):
        if read_manifest(world.store).find("2.0"):
            after = again(world, retire)
            assert after["served"] == {tower: ["1.0"] for tower in TOWERS}
            assert after["files"] == [".registry.lock", "manifest.json", "mini-text.mar", "mini-vision.mar"]


@Kill
@pytest.mark.parametrize("restarted", [False, True])
def test_a_promotion_killed_anywhere_is_finished_by_running_it_again(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str, restarted: bool
) -> None:
    """A server that comes up meanwhile has both towers in one space; the same command ends in the new one."""
    expected = undisturbed(world, promote, added=True)
    for _ in world.every_kill(promote, when=when, patch=monkeypatch, added=True):
        if restarted:
            world.restart_server()
            default = read_manifest(world.store).default.version
            assert world.server.defaults == {"text": default, "vision": default}
        assert again(world, promote) == expected


@Kill
def test_a_promotion_killed_anywhere_is_undone_by_a_rollback(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Between the two towers or anywhere else, one command brings both back to the space before."""
    for _ in world.every_kill(promote, when=when, patch=monkeypatch, added=True):
        begun = read_manifest(world.store)
        if begun.promoting is None and begun.previous is None:
            continue  # Nothing was noted, so nothing has changed.
        after = again(world, lambda registry: registry.rollback())
        assert after["defaults"] == {"text": "1.0", "vision": "1.0"}
        assert read_manifest(world.store).default.version == "1.0"
        assert read_manifest(world.store).promoting is None


@Kill
def test_a_rollback_killed_anywhere_is_finished_by_running_it_again(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Run again it never turns back to the version that was to be left."""

    def roll_back(registry: Registry) -> object:
        registry.promote("2.0")
        return registry.rollback()

    expected = undisturbed(world, roll_back, added=True)
    for _ in world.every_kill(roll_back, when=when, patch=monkeypatch, added=True):
        begun = read_manifest(world.store)
        if begun.promoting and begun.promoting.rollback:
            assert again(world, lambda registry: registry.rollback()) == expected


@Kill
def test_a_retirement_killed_anywhere_is_finished_by_running_it_again(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Not even the archives are left over."""
    expected = undisturbed(world, retire, added=True)
    for _ in world.every_kill(retire, when=when, patch=monkeypatch, added=True):
        begun = read_manifest(world.store)
        if begun.find("2.0") or begun.deleting:
            assert again(world, retire) == expected


def test_one_operator_at_a_time(world: Operated) -> None:
    """While one changes something a second is refused with a sentence, and may look."""
    world.renew(added=True)
    heard: list[str] = []

    def second() -> None:
        with world.registry() as registry:
            registry.list()
            registry.promote("1.0", dry_run=True)
            with pytest.raises(RegistryError) as caught:
                registry.promote("1.0")
            heard.append(str(caught.value))

    world.server.before["SetDefault vision 2.0"] = second
    again(world, promote)
    (sentence,) = heard
    assert f"another operator is changing {world.store}, with the process {os.getpid()}" in sentence
    assert world.server.defaults == {"text": "2.0", "vision": "2.0"}


def test_a_killed_process_lets_go(world: Operated) -> None:
    """After a real kill -9 between the two towers, the lock is free and the same command goes on."""
    world.renew(added=True)
    command = [sys.executable, "-m", "babelclip", "models", "promote", "2.0", *world.options()]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "clients")}
    process: subprocess.Popen[bytes]

    def kill() -> None:
        process.kill()
        process.wait()
        raise Refused(grpc.StatusCode.CANCELLED)

    world.server.before["SetDefault vision 2.0"] = kill
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    assert process.wait(60) == -9
    assert world.server.defaults == {"text": "2.0", "vision": "1.0"}
    with world.registry() as registry:
        assert "`babelclip models promote 2.0` finishes it" in registry.list().remarks[0]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "2.0 is the default of both towers\n"), done.stderr
    assert world.server.defaults == {"text": "2.0", "vision": "2.0"}


def test_the_manifest_is_never_half_written(world: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while the manifest is written leaves the one before."""
    world.renew(added=True)
    before = world.manifest()

    def full(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b'{"format": 1, "spa')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with world.registry() as registry, pytest.raises(OSError, match="No space left"):
        registry.promote("2.0")
    assert world.manifest() == before
    assert world.server.changes == []
