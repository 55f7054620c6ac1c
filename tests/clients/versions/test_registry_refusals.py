"""What the registry refuses, and what it undoes: one sentence, and everything as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import grpc
import pytest

from babelclip import AuthenticationError, Registry, RegistryError, Unavailable
from tests.clients.management_server import Refused
from tests.clients.operated import Operated


def fail(error: Exception) -> None:
    raise error


def _tampered(world: Operated) -> None:
    with (world.new / "mini-text.mar").open("ab") as archive:
        archive.write(b"!")


def _truncated(world: Operated) -> None:
    path = world.new / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])


def _renumbered(world: Operated) -> None:
    path = world.new / "manifest.json"
    path.write_text(path.read_text().replace('"2.0"', '"2.1"'))


def _taken(world: Operated) -> None:
    path = world.store / "manifest.json"
    path.write_text(path.read_text().replace('"1.0"', '"2.0"'))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_tampered, "is not the archive of the manifest"),
        (_truncated, "is no manifest of a model store"),
        (_renumbered, r"is version 2\.0, and .* says 2\.1: export it again with --version 2\.1"),
        (_taken, r"version 2\.0 is taken by another export .* --version"),
    ],
)
def test_what_cannot_be_added_is_refused_at_once(
    world: Operated, spoil: Callable[[Operated], None], words: str
) -> None:
    """Before anything is copied or registered, one sentence says what is wrong with it."""
    spoil(world)
    before = world.state()
    with world.registry() as registry, pytest.raises(RegistryError, match=words) as caught:
        registry.add(world.new)
    assert "\n" not in str(caught.value)
    assert {**world.state(), "files": before["files"]} == before
    assert world.server.changes == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda registry: registry.promote("7"), "there is no version '7' in .*; it has 1.0, 2.0"),
        (lambda registry: registry.retire("7"), "there is no version '7'"),
        (lambda registry: registry.scale("7", 2), "there is no version '7'"),
        (lambda registry: registry.verify("7"), "there is no version '7'"),
        (lambda registry: registry.retire("2.0"), "2.0 is the default; promote another version first"),
        (lambda registry: registry.add("/no/such/folder"), "/no/such/folder is no model store"),
    ],
)
def test_what_makes_no_sense_is_refused(
    world: Operated, change: Callable[[Registry], object], words: str
) -> None:
    """A wrong word is a sentence that names the right ones."""
    world.promote()
    before = world.state()
    with world.registry() as registry, pytest.raises(RegistryError, match=words):
        change(registry)
    assert world.state() == before


def test_a_tampered_archive_in_the_store_is_not_promoted(world: Operated) -> None:
    """A default from which the server could not start again is never set."""
    world.renew(added=True)
    with (world.store / world.archives("2.0")[0]).open("ab") as archive:
        archive.write(b"!")
    with world.registry() as registry, pytest.raises(RegistryError, match="is not the archive"):
        registry.promote("2.0")
    assert world.server.changes == []


@pytest.mark.parametrize("when", ["refused", "unloadable", "sick", "copied"])
def test_an_addition_that_fails_is_undone(
    world: Operated, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whatever fails, no worker, entry or copy of it stays, and the sentence says why."""
    before = world.state()
    world.server.unloadable = {"2.0"} if when == "unloadable" else set()
    world.server.sick = {"2.0"} if when == "sick" else set()
    if when == "copied":
        monkeypatch.setattr("shutil.copyfile", lambda *_: fail(OSError(28, "No space left")))
    if when == "refused":
        digest = json.loads((world.new / "manifest.json").read_text())["spaces"][0]["vision"]["sha256"]
        refused = Refused(grpc.StatusCode.INTERNAL, "Failed to save model: x\nJava")
        call = f"RegisterModel vision mini-2.0-vision-{digest[:8]}.mar"
        world.server.before[call] = partial(fail, refused)
    words = {
        "refused": "Failed to save model: x",
        "unloadable": "2.0 cannot be loaded",
        "sick": "another vector",
        "copied": "No space left",
    }[when]
    with world.registry() as registry, pytest.raises(RegistryError, match=f"{words}.*was undone"):
        registry.add(world.new)
    after = world.state()
    assert set(after["files"]) - set(before["files"]) == {".registry.lock"}
    assert {**after, "files": before["files"]} == before


def test_a_renewed_key_is_read_again(world: Operated) -> None:
    """A connection outlives the renewal of its key; one that is refused all the same is one sentence."""
    with world.registry() as registry:
        registry.list()
        world.restart_server()
        registry.list()
        secret = world.server.key
        world.server.key = "another"
        with pytest.raises(AuthenticationError, match="refused the management key") as caught:
            registry.list()
        world.keys.write_text('{"inference": {"key": "x"}}')
        with pytest.raises(AuthenticationError, match="no management key from the file"):
            registry.list()
    assert secret not in str(caught.value)


def test_a_server_without_the_model_api_is_explained(world: Operated) -> None:
    """TorchServe answers this as it answers a wrong key; the operator is told which it is."""
    world.server.model_api = False
    with world.registry() as registry, pytest.raises(RegistryError, match="without enable_model_api"):
        registry.add(world.new)


def test_a_server_that_is_not_there_is_one_sentence(world: Operated) -> None:
    """No stack trace of gRPC, and the store as it was."""
    before = world.state()
    registry = Registry(world.store, management="grpc://127.0.0.1:9", token_file=world.keys)
    with registry, pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1:9"):
        registry.promote("1.0")
    assert {**world.state(), "files": before["files"]} == before
    for wrong in ("http://127.0.0.1:7071", "somewhere"):
        with pytest.raises(ValueError, match="must start with"):
            Registry(world.store, management=wrong)
