"""Images as JSON holds them."""

import base64
import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from babelclip import ItemError
from gateway.errors import ApiError
from gateway.http import body
from gateway.http.dialects import images

LETTERS = st.text(alphabet="AZaz09+/-_= \n", max_size=12)


@given(LETTERS)
@example("Z+9a=")
@example("QQ")
@example("Q Q = =")
def test_base64_is_taken_as_the_standard_library_takes_it(text: str) -> None:
    """The fast decoder takes nothing that the strict one refuses, and gives the same bytes."""
    found = images.read(text)
    plain = "".join(text.split())
    if ("-" in plain or "_" in plain) and ("+" in plain or "/" in plain):
        assert isinstance(found, ItemError)
        return
    plain = plain.replace("-", "+").replace("_", "/")
    if "=" not in plain:
        plain += "=" * (-len(plain) % 4)
    try:
        expected = binascii.a2b_base64(plain, strict_mode=True)
    except binascii.Error:
        assert isinstance(found, ItemError)
    else:
        assert found == expected


def test_a_data_uri_gives_its_bytes() -> None:
    """What stands before the base64 of a data URI is no part of the image."""
    assert images.read("data:image/png;base64," + base64.b64encode(b"pixels").decode()) == b"pixels"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "\ud800"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"[1e2, -0.5, true, null]", [100.0, -0.5, True, None]),
    ],
    ids=["half-a-surrogate", "a-name-twice", "values"],
)
def test_json_is_read_as_the_standard_library_reads_it(data: bytes, value: object) -> None:
    """What only the slower parser takes is taken, so that an item is judged and not the whole body."""
    assert body.parse(data) == value


@pytest.mark.parametrize(
    "data",
    [b"NaN", b'{"a": Infinity}', b"{", b"\xff", b"[" * 100_000, b"", b"1 2"],
    ids=lambda data: repr(data[:10]),
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Whichever parser meets it, a body that is no JSON is refused with a sentence."""
    with pytest.raises(ApiError) as refused:
        body.parse(data)
    assert refused.value.status == 400
