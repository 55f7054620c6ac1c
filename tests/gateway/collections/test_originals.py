"""Uploads and originals: what is kept is given back as an image, and nothing else of the disk ever is."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.collections.contents import kind_of
from gateway.http.collections.uploads import name_of
from tests.gateway.collections.album import album, call, encoded, picture, refused, told
from tests.gateway.front import Front

PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nb\r\n--x--'
HOSTILE = [
    "../../etc/passwd",
    "<img src=x onerror=alert(1)>.png",
    "C:\\photos\\a.png",
    "\u202egnp.exe",
    "a\tb",
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one that is allowed, and secrets beside it."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def front(places: Path) -> Iterator[Front]:
    """A gateway that may give back what lies below `allowed`."""
    (places / "allowed" / "inner").mkdir(parents=True)
    (places / "allowed-not").mkdir()
    with album(places, content_roots=(str(places / "allowed"),), max_body_bytes=200_000) as front:
        told(call(front, "POST", "", json={"name": "files", "fields": {"album": "text"}}), 201)
        yield front


def uploaded(front: Front, *files: tuple[str, bytes], **data: Any) -> Any:
    """The outcomes of files."""
    sent = [("file", (name, content, "image/png")) for name, content in files]
    return told(call(front, "POST", "/files/items", files=sent, data=data))["items"]


def test_an_upload_is_kept_and_given_back(front: Front) -> None:
    """Byte for byte, as what it is, with ranges and revalidation, until its item is deleted."""
    data = picture(1, "WEBP")
    (one,) = uploaded(front, ("a.webp", data), metadata='{"album": "sea"}')
    assert (one["file"], one["status"]) == ("a.webp", "added")
    item = told(call(front, "GET", f"/files/items/{one['id']}"))
    assert (item["source"], item["metadata"]) == ("upload:a.webp", {"album": "sea"})
    answer = call(front, "GET", item["content"])
    assert (answer.content, answer.headers["content-type"]) == (data, "image/webp")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = call(front, "GET", item["content"], headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, data[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(data)}"
    beyond = call(front, "GET", item["content"], headers={"range": "bytes=999999-"})
    assert beyond.status_code == 416
    known = {"if-none-match": answer.headers["etag"]}
    assert call(front, "GET", item["content"], headers=known).status_code == 304
    assert call(front, "DELETE", f"/files/items/{one['id']}").status_code == 204
    refused(call(front, "GET", item["content"]), 404, "item_not_found")


def test_each_file_has_its_outcome_and_no_name_is_a_path(front: Front, places: Path) -> None:
    """Names are told as text alone; what is no image costs itself and is not kept."""
    kept = set(places.rglob("*"))
    files = [(name, picture(number + 1)) for number, name in enumerate(HOSTILE)]
    outcomes = uploaded(front, *files, ("page.html", b"<html><script>alert(1)</script>"))
    assert outcomes[-1]["code"] == "image_undecodable"
    assert all("/" not in one["file"] and "\\" not in one["file"] for one in outcomes)
    new = {path.name for path in set(places.rglob("*")) - kept if "uploads" in path.parts}
    assert all(name == "uploads" or set(name) <= set("0123456789abcdef") for name in new), new


def test_the_same_file_twice_is_one_item(front: Front) -> None:
    """Uploaded again it takes its own place, and a deletion of one item keeps what another still needs."""
    first, second = (uploaded(front, (name, picture(9)))[0] for name in ("a.png", "b.png"))
    assert first["id"] == second["id"]
    content = told(call(front, "GET", f"/files/items/{first['id']}"))["content"]
    assert call(front, "GET", content).content == picture(9)


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"no form", "multipart/form-data", "boundary"),
        (b"--x\r\n", "multipart/form-data; boundary=y", "no form"),
        (PART % b"a", "multipart/form-data; boundary=x", "'a'"),
        (PART % b"file", "multipart/form-data; boundary=x", "name"),
        (b"--x--", "multipart/form-data; boundary=x", "at least one"),
    ],
)
def test_a_wrong_form_is_explained(front: Front, content: bytes, kind: str, says: str) -> None:
    """Whatever stands in a form, the answer says what is allowed."""
    answer = call(front, "POST", "/files/items", content=content, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"].lower()


def test_a_form_has_a_bound(front: Front) -> None:
    """Bytes beyond it are not kept, whether they are announced or not."""
    large = {"file": ("a.png", b"x" * 300_000, "image/png")}
    refused(call(front, "POST", "/files/items", files=large), 413, "body_too_large")

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(10):
            yield b"y" * 50_000

    kind = {"content-type": "multipart/form-data; boundary=x"}
    refused(call(front, "POST", "/files/items", content=endless(), headers=kind), 413, "body_too_large")


def test_only_images_below_an_allowed_folder_are_given_back(front: Front, places: Path) -> None:
    """A source is what a caller says: links, dots, other folders and other files lead nowhere."""
    allowed, secret = places / "allowed", places / "secret.png"
    secret.write_bytes(picture(7))
    (allowed / "inner" / "good.png").write_bytes(picture(6))
    (allowed / "text.png").write_bytes(b"BMW is no image, and neither is this text")
    (allowed / "link.png").symlink_to(secret)
    (allowed / "folder").symlink_to(places)
    (places / "allowed-not" / "a.png").write_bytes(picture(7))
    os.mkfifo(allowed / "pipe.png")
    sources = {
        "good": allowed / "inner" / "good.png",
        "dots": f"{allowed}/inner/../inner/good.png",
        "outside": secret,
        "up": f"{allowed}/../secret.png",
        "link": allowed / "link.png",
        "folder": allowed / "folder" / "secret.png",
        "beside": places / "allowed-not" / "a.png",
        "text": allowed / "text.png",
        "pipe": allowed / "pipe.png",
        "is-folder": allowed / "inner",
        "passwd": "/etc/passwd",
        "relative": "good.png",
        "keys": places / "keys.json",
        "upload": "upload:../../collection.json",
    }
    items = [
        {"id": name, "source": str(source), "image": encoded(picture(20))} for name, source in sources.items()
    ]
    outcomes = told(call(front, "POST", "/files/items", json={"items": items}))["items"]
    assert {one["status"] for one in outcomes} == {"added"}
    given = {name: call(front, "GET", f"/files/items/{name}/content") for name in sources}
    assert {name for name, answer in given.items() if answer.status_code == 200} == {"good", "dots"}
    assert given["good"].content == picture(6)
    assert {answer.status_code for name, answer in given.items() if name not in ("good", "dots")} == {404}


@given(st.binary(max_size=40))
def test_only_images_and_films_have_a_kind(head: bytes) -> None:
    """Whatever a file begins with, it is never given back as a page or a script."""
    kind = kind_of(head)
    assert kind is None or kind.startswith(("image/", "video/"))
    assert kind != "image/svg+xml"


@given(st.text())
def test_a_file_name_is_text_without_paths(name: str) -> None:
    """Whatever a browser sends as a name, what is kept can be written and has no part of a path."""
    kept = name_of(name)
    assert 0 < len(kept.encode()) <= 800
    assert not set("/\\\0\n") & set(kept)
