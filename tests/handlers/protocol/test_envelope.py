"""What is read of a request before it is checked, and how the form of the response is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.protocol.dialects import dialect_of
from handlers.protocol.envelope import read_envelope, wants_protobuf

PROTOBUF = "application/x-protobuf"


@pytest.mark.parametrize(
    ("accept", "default", "protobuf"),
    [
        ("", True, True),
        ("", False, False),
        ("*/*", True, True),
        ("text/html", False, False),
        (PROTOBUF, False, True),
        ("application/protobuf", False, True),
        ("application/json", True, False),
        (f"application/json, {PROTOBUF}", True, True),
        (f"application/json, {PROTOBUF}", False, False),
        (f"application/json;q=0.5, {PROTOBUF};q=0.9", False, True),
        (f"application/json, {PROTOBUF}; q=0.1", True, False),
        (f"{PROTOBUF};q=0", False, False),
        ("application/x-protobuf ; q=1.0 , application/json;q=0.999", False, True),
    ],
)
def test_the_accept_header_decides(accept: str, default: bool, protobuf: bool) -> None:
    """A caller gets the form it prefers, and one without preference the form it spoke in."""
    assert wants_protobuf(accept, default) is protobuf


@given(
    headers=st.dictionaries(
        st.sampled_from(["explain", "Accept", "Content-Type", "url_path", "ACCEPT"]) | st.text(),
        st.text() | st.integers(),
    ),
    data=st.dictionaries(
        st.sampled_from(["body", "data", "request"]), st.binary() | st.text() | st.lists(st.integers())
    ),
)
def test_any_headers_have_an_envelope(headers: dict[str, object], data: dict[str, object]) -> None:
    """No header from outside raises where there is no request yet to refuse."""
    dialect_of(read_envelope(headers, data))
