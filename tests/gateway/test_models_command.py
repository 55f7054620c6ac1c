"""`babelclip models` against a real gateway: what an operator reads, and what their scripts go by."""

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from babelclip import BabelclipError
from babelclip.cli.main import app
from babelclip.versions.gateway import GatewayVersions
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.test_metrics import eventually
from tests.gateway.three_versions import NEW, NEXT, OLD


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before three versions; each test begins by saying what it means."""
    with gateway(Engine(OLD, NEW, NEXT), tmp_path_factory.mktemp("front")) as front:
        yield front


def run(front: Front, *arguments: str, key: str | None = None) -> Result:
    """One command, told of the gateway by the environment."""
    told = {"BABELCLIP_ADMIN_URL": front.addresses.http, "BABELCLIP_ADMIN_KEY": key or front.key}
    return CliRunner().invoke(app, ["models", *arguments], env=told)


def asked(front: Front, **headers: str) -> str:
    """The model that answers."""
    return str(front.post(json={"input": "a"}, headers=headers).json()["model"])


def test_a_version_from_its_canary_to_a_rollback(front: Front) -> None:
    """The whole life of a candidate by commands; callers have what each of them says."""
    for arguments, says, meant in (
        (("promote", "clip", "1.0"), "clip is 1.0", "clip@1.0"),
        (("canary", "clip", "2.0", "--share", "100"), "clip: 2.0 for 100 % of sessions", "clip@2.0"),
        (("canary", "clip", "2.0", "--share", "0"), "clip: no canary", "clip@1.0"),
        (("promote", "clip", "2.0"), "`babelclip models rollback clip` goes back to 1.0", "clip@2.0"),
        (("rollback", "clip"), "clip is 1.0", "clip@1.0"),
    ):
        done = run(front, *arguments)
        assert done.exit_code == 0, done.output
        assert says in done.stdout
        assert asked(front) == meant


def test_the_list_is_a_table_and_a_document(front: Front) -> None:
    """A person and a program read what each name means and who gets another version."""
    run(front, "promote", "clip", "2.0")
    run(front, "promote", "clip", "1.0")
    run(front, "canary", "clip", "3.0", "--share", "12.5")
    shown = run(front, "list").stdout
    assert all(word in shown for word in ("clip", "1.0", "old", "2.0", "3.0 for 12.5 % of sessions"))
    (model,) = json.loads(run(front, "list", "--json").stdout)["models"]
    assert model == {
        "name": "clip",
        "version": "1.0",
        "space": "old",
        "follows_engine": False,
        "previous": "2.0",
        "canary": {"version": "3.0", "share": 0.125, "report": None},
        "shadow": None,
        "problem": "",
    }
    run(front, "canary", "clip", "3.0", "--share", "0")


def test_a_shadow_is_put_in_its_place_and_judged(front: Front) -> None:
    """The judgement is a table and a sentence; a script goes by the exit code."""
    run(front, "promote", "clip", "1.0")
    assert "nothing stands in the shadow" in run(front, "shadow", "clip").stderr
    done = run(front, "shadow", "clip", "3.0", "--share", "100")
    assert done.stdout == "clip: 3.0 for 100 % of requests\n"
    assert "has seen no request" in run(front, "shadow", "clip").stderr
    front.post(json={"input": [f"text {number}" for number in range(60)]})
    front.post(json={"input": [f"data:image/png;base64,{number:04}" for number in range(60)]})

    def compared() -> bool:
        done = run(front, "shadow", "clip", "--json")
        return done.exit_code != 3 and json.loads(done.stdout)["items"] == {"text": 60, "image": 60}

    eventually(compared)
    done = run(front, "shadow", "clip")
    assert "items compared" in done.stdout
    report = json.loads(run(front, "shadow", "clip", "--json").stdout)
    # Whether the candidate was as fast is the machine's matter.
    assert all("takes" in reason for reason in report["reasons"])
    assert done.exit_code == (0 if report["promote"] else 1)
    assert run(front, "shadow", "clip", "3.0", "--share", "0").stdout == "clip: no shadow\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("promote", "clip", "9.0"), 3, "not served in this version"),
        (("promote", "other", "1.0"), 3, "there is no model 'other'"),
        (("canary", "clip", "2.0", "--share", "101"), 2, "--share"),
        (("canary", "clip", "2.0"), 2, "--share"),
        (("promote", "clip", "2.0", "more"), 2, "give a version"),
        (("promote", "clip", "2.0", "--dry-run"), 2, "one step"),
        (("list", "--key", "wrong"), 3, "the key is wrong"),
        (("list", "--gateway", "grpc://127.0.0.1:1"), 3, "must start with http"),
        (("list", "--gateway", "http://127.0.0.1:9"), 3, "no answer from http://127.0.0.1:9"),
    ],
)
def test_failures_are_one_line(front: Front, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Whatever fails is one sentence and an exit code, never a stack trace and never a key."""
    done = run(front, *arguments)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert front.key not in done.output


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["models", "error", "message", "name", "version", "space", "canary", "share"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(
    status=st.sampled_from([200, 302, 401, 403, 404, 409, 500, 503]),
    content=st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()),
)
@settings(max_examples=50, deadline=None)
def test_another_servers_answer_is_an_error_of_ours(status: int, content: bytes) -> None:
    """Whatever stands at the address, the operator gets a sentence."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content)

    made: Any = functools.partial(httpx.Client, transport=httpx.MockTransport(answer))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "Client", made)
        with GatewayVersions("http://127.0.0.1:1") as versions:
            for call in (versions.list, lambda: versions.promote("clip", "2.0")):
                with contextlib.suppress(BabelclipError):
                    call()
