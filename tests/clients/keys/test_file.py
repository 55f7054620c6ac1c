"""The file of the gateway's keys: hashes alone, changed whole, and read by whoever is strict."""

import contextlib
import json
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.keys.entries import DEFAULT_SCOPES, NO_LIMITS, SCOPES, Key, Limits, moment, parse, render
from babelclip.keys.file import KeysError, add, digest_of, load, revoke
from tests.places import REPOSITORY

SOON = datetime.now(UTC) + timedelta(days=90)


def test_a_key_is_kept_as_a_hash_with_what_it_may_do(tmp_path: Path) -> None:
    """The file tells who may call, what and how much, and not how: whoever reads it cannot call."""
    file = tmp_path / "new" / "keys.json"
    limits = Limits(items_per_second=100, concurrent_items=64)
    secret = add(file, "shop", scopes=["search", "embed"], expires=SOON, limits=limits)
    assert len(secret) > 40
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]
    (key,) = load(file)
    assert (key.name, key.digest, key.scopes, key.limits) == (
        "shop",
        digest_of(secret),
        ("embed", "search"),
        limits,
    )
    assert key.expires == SOON.replace(microsecond=0)


def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    """Keys of when there were neither scopes nor limits stay what they were, after a change too."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [GOOD]}))
    add(file, "new")
    assert load(file)[0] == Key("a", bytes(32), "", DEFAULT_SCOPES, None, NO_LIMITS)


@pytest.mark.slow
def test_keys_that_are_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Two operators lose nothing to each other."""
    file = tmp_path / "keys.json"
    imports = "import sys; from pathlib import Path; from babelclip.keys.file import add"
    code = f"{imports}; add(Path(sys.argv[1]), sys.argv[2])"

    def make(number: int) -> int:
        command = [sys.executable, "-c", code, str(file), f"key{number}"]
        return subprocess.run(command, cwd=REPOSITORY / "clients").returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(8))) == [0] * 8
    assert {key.name for key in load(file)} == {f"key{number}" for number in range(8)}


def test_what_cannot_be_done_is_explained(tmp_path: Path) -> None:
    """No name twice, no name that is none, no key that is over already, none taken that there is not."""
    file = tmp_path / "keys.json"
    add(file, "shop")
    with pytest.raises(KeysError, match="there is a key of the name shop"):
        add(file, "shop")
    with pytest.raises(KeysError, match="is no name of a key"):
        add(file, "a b")
    with pytest.raises(KeysError, match="that is over"):
        add(file, "late", expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(KeysError, match="there is no key of the name other"):
        revoke(file, "other")
    revoke(file, "shop")
    assert load(file) == []
    with pytest.raises(KeysError, match="cannot read"):
        load(tmp_path / "none.json")


GOOD = {"name": "a", "sha256": "0" * 64, "created": ""}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], 'it must be {"keys"'),
        ({"keys": [1]}, "keys[0]: it must be an object"),
        ({"keys": [{"name": "a", "created": ""}]}, "keys[0]: it has no sha256"),
        ({"keys": [{**GOOD, "regions": "eu"}]}, "this version knows no 'regions'"),
        ({"keys": [{**GOOD, "created": 1}]}, "created must be a string"),
        ({"keys": [{**GOOD, "sha256": "0" * 63}]}, "64 hexadecimal digits"),
        ({"keys": [{**GOOD, "name": "a b"}]}, "up to 64 letters"),
        ({"keys": [{**GOOD, "expires": "soon"}]}, "'soon' is no moment"),
        ({"keys": [{**GOOD, "scopes": []}]}, "scopes must be a list of embed, search, write, admin"),
        ({"keys": [{**GOOD, "scopes": ["root"]}]}, "scopes must be a list of embed, search, write, admin"),
        ({"keys": [{**GOOD, "limits": 3}]}, "limits must be an object"),
        ({"keys": [{**GOOD, "limits": {"texts_per_second": 3}}]}, "knows no limit 'texts_per_second'"),
        ({"keys": [{**GOOD, "limits": {"items_per_second": 0}}]}, "items_per_second must be more than 0"),
        ({"keys": [{**GOOD, "limits": {"items_per_second": True}}]}, "must be a number"),
        ({"keys": [{**GOOD, "limits": {"items_per_second": 10**400}}]}, "less than 1e15"),
        ({"keys": [{**GOOD, "limits": {"concurrent_items": 1.5}}]}, "must be a whole number"),
        ({"keys": [{**GOOD, "collections": "a"}]}, "collections must be a list"),
        ({"keys": [{**GOOD, "collections": []}]}, "collections must be a list of at least one name"),
        ({"keys": [{**GOOD, "collections": ["a", {}]}]}, "collections must be names"),
        ({"keys": [{**GOOD, "collections": ["a/b"]}]}, "collections must be names"),
        ({"keys": [GOOD, GOOD]}, "two keys of the name a"),
    ],
)
def test_a_file_of_something_else_is_explained(content: object, says: str) -> None:
    """An entry with a limit that is not understood is never taken for a key without limits."""
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(json.dumps(content).encode())


@given(
    data=st.binary(max_size=300)
    | st.recursive(st.text() | st.none() | st.floats() | st.integers(), st.lists)
    .map(json.dumps)
    .map(str.encode)
    | st.dictionaries(
        st.sampled_from(["scopes", "expires", "limits", "name", "created", "collections"]),
        st.none()
        | st.integers()
        | st.text()
        | st.lists(st.none() | st.text())
        | st.dictionaries(st.text(), st.none()),
    ).map(lambda entry: json.dumps({"keys": [{**GOOD, **entry}]}).encode())
)
def test_no_file_breaks_the_reader(data: bytes) -> None:
    """Whatever stands in the file, it becomes keys or a ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse(data), list)


@given(
    scopes=st.sets(st.sampled_from(SCOPES), min_size=1),
    expires=st.none() | st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),
    rate=st.none() | st.floats(min_value=1e-9, max_value=1e14),
    most=st.none() | st.integers(1, 10**14),
    collections=st.lists(st.sampled_from(["*", "a", "shop-*", "A_9"]), min_size=1, max_size=3).map(tuple),
)
def test_what_is_written_is_read_again(
    scopes: set[str],
    expires: datetime | None,
    rate: float | None,
    most: int | None,
    collections: tuple[str, ...],
) -> None:
    """A change of one key leaves all others as they were."""
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    when = None if expires is None else expires.replace(microsecond=0)
    key = Key(
        "a",
        bytes(range(32)),
        "2026-01-31T12:00:00Z",
        ordered,
        when,
        Limits(rate, rate, rate, most),
        collections,
    )
    assert parse(render([key])) == [key]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T12:00", "2027-01-31T12:00:00Z"),
        ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"),
    ],
)
def test_a_moment_is_in_utc_unless_it_says_more(text: str, means: str) -> None:
    """Every replica lets a key end at the same time, wherever it stands."""
    assert moment(text) == datetime.fromisoformat(means)
