"""Attacks on collections by forms, lines and ranges: none breaks them, and none gives more than there is."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.collections.album import album, call, made, picture, told
from tests.gateway.front import Front

MOST_ANSWER = 20_000  # bytes of a refusal: it repeats little of what was sent


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection that no attack may spoil."""
    with album(tmp_path_factory.mktemp("album"), max_items=100, max_body_bytes=4_000_000) as front:
        made(front, "shared")
        yield front


BOUNDARY = {"content-type": "multipart/form-data; boundary=x"}
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'


@pytest.mark.parametrize(
    "content",
    [
        FILE + b"a:b\r\n" * 100_000 + b"\r\nx\r\n--x--",
        FILE + b"a: " + b"b" * 3_000_000 + b"\r\n\r\nx\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="' + b"a" * 1_000_000 + b'"\r\n\r\nx\r\n--x--',
        (FILE + b"\r\nx\r\n") * 101 + b"--x--",
        b'--x\r\nContent-Disposition: form-data; name="caption"\r\n\r\n' + b"x" * 100_000 + b"\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="caption"\r\n\r\nx\r\n' * 9 + b"--x--",
        b"--x" * 1_000_000,
        b"\r\n" * 1_900_000,
        FILE,
        FILE + b"\r\n" + b"\r\n--" * 200_000,
        b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        + b"[" * 60_000
        + b"\r\n"
        + FILE
        + b"\r\nx\r\n--x--",
    ],
    ids=[
        "headers",
        "one header",
        "a name",
        "files",
        "a field",
        "fields",
        "no form",
        "blank",
        "cut",
        "nearly",
        "deep",
    ],
)
def test_no_form_is_too_much(front: Front, content: bytes) -> None:
    """Heads of parts, parts and fields have bounds, whatever the body's own length is."""
    answer = call(front, "POST", "/shared/items", content=content, headers=BOUNDARY)
    assert answer.status_code in (400, 413), answer.text
    assert answer.json()["error"]["message"]
    assert len(answer.content) < MOST_ANSWER
    assert told(call(front, "GET", "/shared"))["items"] == 3


@pytest.mark.parametrize(
    "charset",
    ["idna", "undefined", "punycode", "unicode_escape", "utf-7", "rot13", "hex", "zlib", "mbcs", "x" * 999],
)
def test_a_charset_that_a_form_names_breaks_nothing(front: Front, charset: str) -> None:
    """Python knows codecs that are no charsets: naming one is at most the form's own mistake."""
    content = '--x\r\nContent-Disposition: form-data; name="file"; filename="ä\ud83d.png"\r\n\r\nx\r\n--x--'
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    headers = {"content-type": kind}
    answer = call(
        front, "POST", "/shared/items", content=content.encode("utf-8", "surrogatepass"), headers=headers
    )
    assert answer.status_code in (200, 400), answer.text


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [b"--x\r\n", b"--x--", FILE, b"\r\n", b"\r\n\r\n", b"a: b\r\n", b"\xff", picture(1)[:40]]
            ),
            max_size=12,
        ).map(b"".join),
    ),
    st.sampled_from(["x", '"x"', "", "x; charset=idna", "\xff", "x" * 300]),
)
def test_any_bytes_are_a_form_or_a_refusal(front: Front, content: bytes, boundary: str) -> None:
    """Whatever stands in a body that says of itself it is a form, there is no failure of ours."""
    kind = f"multipart/form-data; boundary={boundary}".encode("latin-1")
    answer = call(front, "POST", "/shared/items", content=content, headers={"content-type": kind})
    assert answer.status_code in (200, 400), answer.text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [b'{"image": "x"}', b"[" * 2000, b'{"id": "\\ud800"}', b"null", b"1e999", b"\r", b""]
            ),
        ),
        max_size=8,
    ).map(b"\n".join)
)
def test_any_lines_have_outcomes(front: Front, content: bytes) -> None:
    """Each line that is not blank has one outcome, whatever bytes it is of."""
    headers = {"content-type": "application/x-ndjson"}
    answer = call(front, "POST", "/shared/items", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    outcomes = [json.loads(line) for line in answer.text.splitlines()]
    assert len(outcomes) == sum(bool(line.strip()) for line in content.split(b"\n"))
    assert {one["status"] for one in outcomes} <= {"failed"}


RANGES = [
    "bytes=" + ",".join(f"{n}-" for n in range(2000)),
    "bytes=" + ",".join("0-" for _ in range(99)),
    "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(90)),
    "bytes=-" + "9" * 4000,
    "bytes=" + "9" * 5000 + "-",
    "bytes=5-4",
    "bytes=--5",
    "bytes=a-b",
    "bytes=",
    "bytes",
    "=0-1",
    "lines=0-1",
    "bytes=0-1,",
    "bytes=\u0660-\u0669".encode().decode("latin-1"),
]


@pytest.fixture(scope="module")
def upload(front: Front) -> tuple[str, bytes]:
    """The address of an original, and its bytes."""
    data = picture(8, "PNG", 300)
    told(call(front, "POST", "", json={"name": "ranges"}), 201)
    answer = call(front, "POST", "/ranges/items", files=[("file", ("a.png", data, "image/png"))])
    (one,) = told(answer)["items"]
    return told(call(front, "GET", f"/ranges/items/{one['id']}"))["content"], data


@pytest.mark.parametrize("asked", RANGES, ids=lambda asked: asked[:20])
def test_no_range_gives_more_than_the_file(front: Front, upload: tuple[str, bytes], asked: str) -> None:
    """Many ranges, overlapping ones and nonsense give the file, a part of it, or a refusal."""
    address, data = upload
    answer = call(front, "GET", address, headers={"range": asked.encode("latin-1")})
    assert answer.status_code in (200, 206, 400, 416)
    assert len(answer.content) <= len(data) + 20_000  # with the heads of some parts
    if answer.status_code == 200:
        assert answer.content == data


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("bytes=0123456789-, "), max_size=40).map(str.strip))
def test_any_range_is_answered(front: Front, upload: tuple[str, bytes], asked: str) -> None:
    """Whatever a caller asks for, it gets bytes of the file or an error of its own."""
    address, data = upload
    answer = call(front, "GET", address, headers={"range": asked})
    assert answer.status_code in (200, 206, 400, 416)
    if answer.status_code == 206 and "multipart" not in answer.headers["content-type"]:
        begin, end = answer.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-")
        assert answer.content == data[int(begin) : int(end) + 1]
