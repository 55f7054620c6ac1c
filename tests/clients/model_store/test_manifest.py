"""The manifest: what is one, and that nothing else is taken for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.errors import ManifestError
from babelclip.model_store.manifest import Deletion, Manifest, Promotion, parse_manifest
from tests.clients.operated import CANARIES, make_store

PATH = Path("store/manifest.json")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A manifest as the export writes it, and all that a registry adds."""
    store = make_store(tmp_path_factory.mktemp("made") / "store", "1.0")
    made: dict[str, Any] = json.loads((store / "manifest.json").read_text())
    made["previous"] = "0.9"
    made["promoting"] = {"from": "1.0", "to": "2.0", "theirs": True}
    made["deleting"] = {"version": "0.8", "archives": ["a.mar", "b.mar"]}
    return made


def parsed(document: Any) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), PATH)


def test_a_manifest_of_before_is_read() -> None:
    """One that an export wrote in November 2026, before the modules had rooms, says the same today."""
    found = parse_manifest(Path(__file__).with_name("former_manifest.json").read_bytes(), PATH)
    entry = found.default
    assert (entry.name, entry.space, entry.version) == ("mini", "36fedbf14738f81a", "1.0")
    assert {tower: found.mar for tower, found in entry.towers.items()} == {
        "text": "mini-text.mar",
        "vision": "mini-vision.mar",
    }
    assert entry.towers["text"].canary == "a red heart"
    assert entry.min_cosine == 0.99
    for tower in entry.towers.values():
        assert abs(float(tower.vector @ tower.vector) - 1) < 1e-5


def test_all_of_it_is_read(document: dict[str, Any]) -> None:
    """Entries, canaries and what a registry has begun arrive; keys nobody here knows are kept."""
    found = parsed(document)
    assert (found.default.name, found.default.version, found.default.unproved) == ("mini", "1.0", False)
    assert found.default.towers["text"].canary == CANARIES["text"].decode()
    assert found.default.towers["vision"].canary == CANARIES["vision"]
    assert (found.previous, found.promoting) == ("0.9", Promotion("1.0", "2.0", rollback=False))
    assert found.deleting == Deletion("0.8", ("a.mar", "b.mar"))
    assert found.document["theirs"] == {"kept": 1}


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            entry = entry[key]
        del entry[last]

    return change


def holding(value: Any, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            entry = entry[key]
        entry[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("canary"), "it has no 'canary'"),
        (without("text", "sha256"), "it has no 'sha256'"),
        (holding("../other.mar", "text", "mar"), "cannot be part of a file's name"),
        (holding("", "version"), "cannot be part of a file's name"),
        (holding("1\n", "version"), "no printable text"),
        (holding(1.0, "version"), "no printable text"),
        (holding("yes", "default"), "neither true nor false"),
        (holding(float("nan"), "canary", "min_cosine"), "no number from -1 to 1"),
        (holding("AAAA", "canary", "text", "vector"), "multiple of element size"),
        (holding("AADAfw==", "canary", "text", "vector"), "no finite numbers"),
        (holding("no base64", "canary", "vision", "input"), "Only base64"),
        (holding("\ud800", "name"), "surrogates not allowed"),
        (holding([], "canary"), "'canary' is no JSON object"),
    ],
)
def test_what_contradicts_itself_is_refused(
    document: dict[str, Any], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    """A wrong value is named in one sentence, and no path leads out of the store."""
    spoiled = json.loads(json.dumps(document))
    change(spoiled["spaces"][0])
    with pytest.raises(ManifestError, match=words) as caught:
        parsed(spoiled)
    assert str(caught.value).startswith("store/manifest.json is no manifest of a model store: ")
    assert "\n" not in str(caught.value)


def test_versions_and_the_default_are_unique(document: dict[str, Any]) -> None:
    """TorchServe keeps one model of a version, and one default."""
    entry = document["spaces"][0]
    with pytest.raises(ManifestError, match=r"version '1\.0' twice"):
        parsed({**document, "spaces": [entry, {**entry, "default": False}]})
    with pytest.raises(ManifestError, match="several defaults"):
        parsed({**document, "spaces": [entry, {**entry, "version": "2.0"}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def outcome(data: bytes) -> Manifest | str:
    """What the bytes say, or why they say nothing; anything else is raised."""
    try:
        return parse_manifest(data, PATH)
    except ManifestError as error:
        return str(error)


def check(data: bytes) -> None:
    """Either one sentence about the file, or a manifest that can be written again."""
    found = outcome(data)
    if isinstance(found, str):
        assert found.startswith(str(PATH))
        assert len(found.splitlines()) == 1
    else:
        json.dumps(found.document, ensure_ascii=False).encode()


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_outside_bytes_are_a_manifest_or_one_error(data: bytes) -> None:
    """Whatever stands in the file, an operator reads a sentence and no stack trace."""
    check(data)


@given(st.data())
def test_a_manifest_with_anything_anywhere_is_one_or_an_error(document: dict[str, Any], data: Any) -> None:
    """The same for files that nearly are manifests: any value in any place."""
    changed = json.loads(json.dumps(document))
    place = changed
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    check(json.dumps(changed).encode())


def test_a_deeply_nested_file_is_an_error() -> None:
    """A file made to exhaust the parser is refused like any other."""
    check(b"[" * 200_000)
    check(b'{"format": 1, "spaces": [], "x": ' + b"[" * 900 + b"]" * 900 + b"}")
