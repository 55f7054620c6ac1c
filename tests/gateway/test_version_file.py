"""The file that says which version a model's name means: read whole or not at all, changed by many."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import RegistryError
from babelclip.shadow.traffic_split import TrafficSplit
from gateway.versions import ModelVersions, VersionFile, VersionsError, as_json, parse, render

VERSIONS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
SPLITS = st.builds(TrafficSplit, VERSIONS, st.floats(0, 1, exclude_min=True))
DECIDED = st.builds(
    ModelVersions,
    version=st.none() | VERSIONS,
    previous=st.none() | VERSIONS,
    canary=st.none() | SPLITS,
    shadow=st.none() | SPLITS,
)


@given(models=st.dictionaries(st.text(max_size=9), DECIDED, max_size=3))
def test_a_file_that_was_written_is_read_as_it_was(models: dict[str, ModelVersions]) -> None:
    """Every replica comes to the same from the same file."""
    assert parse(render(models)) == models


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("1.0"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["version", "previous", "canary", "shadow", "share", "x"]), inner)
    ),
    max_leaves=6,
)


@given(content=st.binary(max_size=40) | JSON.map(lambda v: json.dumps({"models": {"clip": v}}).encode()))
def test_a_file_that_is_none_is_refused_with_a_sentence(content: bytes) -> None:
    """Whatever stands in the file is either understood whole or refused."""
    try:
        found = parse(content)
    except ValueError:
        return
    assert parse(render(found)) == found


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"version": "../2"}, "models.clip.version must be"),
        ({"version": 2}, "models.clip.version must be"),
        ({"verzion": "2"}, "knows no 'verzion'"),
        ({"canary": {"version": "2"}}, "models.clip.canary must be"),
        ({"canary": {"version": "2", "share": 0}}, "models.clip.canary.share must be"),
        ({"shadow": {"version": "2", "share": 10}}, "models.clip.shadow.share must be"),
        ([], "models.clip must be an object"),
    ],
)
def test_a_wrong_entry_is_named(entry: Any, said: str) -> None:
    """An operator who edits the file by hand learns where it is wrong."""
    with pytest.raises(ValueError, match=said):
        parse(json.dumps({"models": {"clip": entry}}).encode())


def test_a_file_that_breaks_or_goes_switches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was decided last stays in force, and the log says why; a good file holds at once."""
    path = tmp_path / "versions.json"
    file = VersionFile(path)
    assert file.of("clip") == ModelVersions()
    path.write_bytes(render({"clip": ModelVersions("2.0")}))
    assert file.of("clip").version == "2.0"
    path.write_bytes(b'{"models": {"cl')
    assert file.of("clip").version == "2.0"
    path.unlink()
    assert file.of("clip").version == "2.0"
    assert caplog.text.count("stay in force") == 2
    path.write_bytes(render({"clip": ModelVersions("3.0")}))
    assert file.of("clip").version == "3.0"
    path.write_bytes(b"none")
    with pytest.raises(VersionsError, match="no JSON"):
        VersionFile(path)
    with pytest.raises(VersionsError, match="no versions_file"):
        VersionFile(None).change("clip", lambda decided: decided)


def test_changes_of_two_operators_are_both_there(tmp_path: Path) -> None:
    """Changes at the same time come one after the other, and a refusal leaves the file as it was."""
    path = tmp_path / "folder" / "versions.json"

    def change(number: int) -> None:
        VersionFile(path).change(f"model {number}", lambda decided: replace(decided, version=str(number)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    assert parse(path.read_bytes()) == {f"model {i}": ModelVersions(str(i)) for i in range(40)}

    def refuse(decided: ModelVersions) -> ModelVersions:
        raise RegistryError("no")

    before = path.read_bytes()
    with pytest.raises(RegistryError):
        VersionFile(path).change("model 1", refuse)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["versions.json"]


def test_what_is_decided_is_told_without_what_is_not() -> None:
    """The file and the answers hold nothing that stands for nothing."""
    assert as_json(ModelVersions()) == {}
    decided = ModelVersions("2.0", "1.0", TrafficSplit("3.0", 0.25))
    assert as_json(decided) == {
        "version": "2.0",
        "previous": "1.0",
        "canary": {"version": "3.0", "share": 0.25},
    }
