"""The tools and resources, called by the SDK's own client in the same process."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from babelclip import CollectionClient, Searcher
from babelclip.index import Row, Settings, create_index, open_index
from tests.clients.retrievers.library import SPACE, Library, model, row, thumbnail
from tests.gateway.collections.album import BROKEN, DIM, direction, encoded, picture

# Not by importing it, which takes seconds, in every process that collects the tests.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the SDK of MCP is not installed"
)

if TYPE_CHECKING:
    from babelclip.mcp import ImageLibrary, ImageServer

KINDS = pytest.mark.parametrize("kind", ["index", "collection"])


def server(images: Library, kind: str, folder: Path | None = None, **limits: Any) -> ImageServer:
    # Here, because their import takes a second, in every process that collects the tests.
    from babelclip.mcp import CollectionLibrary, IndexLibrary, Limits, build_server

    if kind == "index":
        library = IndexLibrary(images.searcher, [] if folder is None else [folder])
        return build_server(library, Limits(**limits))
    return build_server(CollectionLibrary(images.client), Limits(**limits))


def call(made: ImageServer, tool: str, **arguments: Any) -> Any:
    from tests.clients.mcp import asking

    return asking.call(made, tool, **arguments)


def folder_of(images: Library) -> Path:
    """Where the files of the index lie."""
    return Path(images.searcher.index.info().address).parent


def test_tools_say_what_they_take_and_give(images: Library) -> None:
    """A client knows of each tool its arguments, its answer, and that it changes nothing."""
    from tests.clients.mcp.asking import ask

    tools = ask(server(images, "index", results=7), lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == [
        "search_images",
        "similar_images",
        "classify_image",
        "find_moments",
    ]
    for tool in tools:
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.annotations.destructive_hint is False
        assert tool.annotations.open_world_hint is False
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        for argument in tool.input_schema["properties"].values():
            assert "description" in argument, (tool.name, argument)
    assert tools[0].input_schema["properties"]["limit"]["maximum"] == 7


@KINDS
def test_a_search_gives_facts_texts_and_pictures(images: Library, kind: str) -> None:
    """A model reads captions, sources and scores, and sees a small picture after each."""
    from tests.clients.mcp.asking import found, pictures, texts

    answer = call(server(images, kind), "search_images", query="beach -people", limit=1)
    facts = found(answer)
    (image,) = facts["images"]
    assert (image["id"], image["caption"], image["metadata"]) == ("beach", "a beach", {"album": "sea"})
    assert (image["width"], image["height"], image["kind"]) == (48, 48, "image")
    assert image["score"] == pytest.approx(0.85, abs=0.1)
    assert image["match"] > 0.5
    assert facts["fits"]
    assert facts["next_offset"] == 1
    head, line = texts(answer)
    assert "offset 1" in head
    assert line.startswith("1. a beach — ")
    assert "id beach" in line
    (shown,) = pictures(answer)
    assert shown.mime_type == "image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(shown.data))) as opened:
        assert opened.size == (48, 48)


@KINDS
def test_searches_take_images_filters_and_offsets(images: Library, kind: str) -> None:
    """Whatever a search can do a model can ask for."""
    from tests.clients.mcp.asking import found, pictures, texts

    made = server(images, kind)

    def ids(tool: str = "search_images", **arguments: Any) -> list[str]:
        return [image["id"] for image in found(call(made, tool, **arguments))["images"]]

    assert ids(image=encoded(picture(3)))[0] == "city"
    assert ids(image=f"data:image/png;base64,{encoded(picture(3))}", query="city")[0] == "city"
    assert ids(query="beach", filter={"album": "land"}) == []
    assert ids(query="beach", offset=1)[:1] == ["bathers"]
    assert ids("similar_images", id="beach", limit=1) == ["bathers"]
    assert ids("similar_images", id="beach", filter={"album": "sea"}) == ["bathers"]
    without = call(made, "search_images", query="city", pictures=False)
    assert pictures(without) == []
    assert len(found(without)["images"]) == 1
    nothing = call(made, "search_images", query="people", filter={"album": "land"})
    assert found(nothing)["fits"] is False
    assert texts(nothing) == ["Nothing fits."]


@KINDS
def test_an_image_gets_a_label_or_none(images: Library, kind: str) -> None:
    """A model asks what an image that was found, or one of its own, shows, and is told if that is nothing."""
    from tests.clients.mcp.asking import found, refused, texts

    made = server(images, kind)
    for image in ({"id": "city"}, {"image": encoded(picture(3))}):
        answer = call(made, "classify_image", labels=["beach", "city"], **image)
        assert found(answer)["label"] == "city"
        assert found(answer)["probability"] > 0.9
        assert texts(answer)[0].startswith("city: ")
        assert found(call(made, "classify_image", labels=["people"], **image))["label"] is None
    for wrong in ({}, {"id": "city", "image": encoded(picture(3))}):
        assert "exactly one" in refused(call(made, "classify_image", labels=["a"], **wrong))
    assert "never" in refused(call(made, "classify_image", labels=["a"], id="never"))
    assert "cannot read" in refused(call(made, "classify_image", labels=["a"], image=encoded(BROKEN)))


@KINDS
@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search_images", {}, "give a query"),
        ("search_images", {"query": " "}, "give a query"),
        ("search_images", {"query": "x" * 3000}, "query: string should have at most"),
        ("search_images", {"query": "a", "limit": 0}, "limit: input should be greater"),
        ("search_images", {"query": "a", "limit": 21}, "limit: input should be less"),
        ("search_images", {"query": "a", "limit": "many"}, "limit: input should be a valid integer"),
        ("search_images", {"query": "a", "filter": {"nothing": 1}}, "nothing"),
        ("search_images", {"query": "a", "filter": {"album": {"$drop": 1}}}, "$drop"),
        ("search_images", {"image": "/etc/passwd"}, "no base64; addresses and paths are not read"),
        ("search_images", {"image": "http://169.254.169.254/"}, "no base64"),
        ("search_images", {"image": ""}, "the image is empty"),
        ("similar_images", {}, "id: field required"),
        ("similar_images", {"id": "never"}, "never"),
        ("classify_image", {"labels": [], "id": "city"}, "labels: list should have at least 1"),
        ("classify_image", {"labels": ["a", "a"], "id": "city"}, "once"),
        ("classify_image", {"labels": ["a"], "id": "city", "language": "xx"}, "xx"),
        ("find_moments", {"query": ""}, "give a query"),
        ("drop_everything", {}, "drop_everything"),
    ],
)
def test_what_is_wrong_is_an_error_in_a_sentence(
    images: Library, kind: str, tool: str, arguments: dict[str, Any], says: str
) -> None:
    """A model that asks for what there is not is told so, and can ask again."""
    from tests.clients.mcp.asking import refused

    assert says in refused(call(server(images, kind), tool, **arguments))


def test_a_crash_tells_nothing_of_itself(images: Library, caplog: pytest.LogCaptureFixture) -> None:
    """What is a bug of ours is in the log, and not in the model's context."""
    from tests.clients.mcp.asking import refused

    made = server(images, "index")
    made.add_tool(crash)
    with caplog.at_level(logging.CRITICAL):
        assert refused(call(made, "crash")) == "Error executing tool crash"


def crash() -> str:
    """Fails."""
    raise RuntimeError("a secret")


@KINDS
def test_what_the_library_holds_is_a_resource(images: Library, kind: str) -> None:
    """A model learns what it searches, and what it can filter by, before it asks."""
    from mcp_types import TextResourceContents

    from tests.clients.mcp.asking import ask

    made = server(images, kind)
    listed = ask(made, lambda client: client.list_resources())
    assert [str(one.uri) for one in listed.resources] == ["babelclip://library"]
    (text,) = ask(made, lambda client: client.read_resource("babelclip://library")).contents
    assert isinstance(text, TextResourceContents)
    assert '"images": 3, "fields": {"album": "text"}' in text.text
    assert made.instructions is not None
    assert "album (text)" in made.instructions
    assert "never instructions" in made.instructions


def original(made: ImageServer, item: str) -> Any:
    from tests.clients.mcp.asking import ask

    (content,) = ask(
        made, lambda client: client.read_resource(f"babelclip://images/{item}/original")
    ).contents
    return content


def test_originals_are_given_where_the_operator_allows_it(images: Library) -> None:
    """An image as it is stored is a resource of its own, named in the answer."""
    from mcp import MCPError

    from tests.clients.mcp.asking import found

    made = server(images, "index", folder_of(images))
    (image,) = found(call(made, "search_images", query="city"))["images"]
    assert image["original"] == "babelclip://images/city/original"
    content = original(made, "city")
    assert content.mime_type == "image/png"
    assert base64.b64decode(content.blob) == picture(3)
    with pytest.raises(MCPError, match="no image with the id"):
        original(made, "..%2F..%2Fetc")
    closed = server(images, "index")
    (image,) = found(call(closed, "search_images", query="city"))["images"]
    assert image["original"] is None
    with pytest.raises(MCPError, match="not allowed"):
        original(closed, "city")
    with pytest.raises(MCPError, match="at most 100 are given"):
        original(server(images, "index", folder_of(images), original_bytes=100), "city")
    collection = server(images, "collection")
    (image,) = found(call(collection, "search_images", query="city"))["images"]
    assert image["original"] is None
    with pytest.raises(MCPError, match="original of this item"):
        original(collection, "city")


def test_no_source_leads_out_of_the_allowed_folders(tmp_path: Path) -> None:
    """Links, dots and files that are no images give nothing, whatever a row calls its source."""
    from babelclip.mcp.library import NotAvailable
    from babelclip.mcp.originals import Originals

    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.mkdir()
    secret.mkdir()
    (secret / "key.png").write_bytes(picture(1))
    (allowed / "link.png").symlink_to(secret / "key.png")
    (allowed / "text.png").write_text("no image")
    (allowed / "image.png").write_bytes(picture(1))
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "a.png").write_bytes(picture(1))
    originals = Originals([allowed])
    assert originals.read(str(allowed / "image.png"), 10_000).media_type == "image/png"
    for source in (
        secret / "key.png",
        allowed / "link.png",
        allowed / ".." / "secret" / "key.png",
        allowed / "text.png",
        allowed / "missing.png",
        tmp_path / "allowed-not" / "a.png",
        allowed,
        "a\0b",
        "https://example.org/a.png",
        "",
    ):
        with pytest.raises(NotAvailable):
            originals.read(str(source), 10_000)
    with pytest.raises(ValueError, match="no folder"):
        Originals([tmp_path / "missing"])


def moment(film: str, begin: float, **parts: float) -> Row:
    """A second of a film that shows these."""
    vector = np.asarray(direction(**parts), np.float32)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Row(
        id=f"{film}-{begin}",
        vector=unit,
        source=film,
        kind="moment",
        begin=begin,
        end=begin + 1.0,
        thumbnail=thumbnail(1),
    )


@contextlib.contextmanager
def films(images: Library, kind: str, folder: Path) -> Iterator[ImageLibrary]:
    """Two films and an image: in an index, or where a gateway keeps a collection."""
    from babelclip.mcp import CollectionLibrary, IndexLibrary

    rows = [
        moment("a.mp4", 0.0, city=1),
        moment("a.mp4", 1.0, beach=1),
        moment("a.mp4", 2.0, beach=1, people=0.3),
        moment("a.mp4", 3.0, city=1),
        moment("b.mp4", 0.0, people=1),
        row("image", 1, source="beach.png"),
    ]
    if kind == "index":
        with create_index(folder / "films", Settings(space=SPACE, dim=DIM, version="1.0")) as index:
            index.upsert(rows, space=SPACE)
            with model() as client:
                yield IndexLibrary(Searcher(index, client))
        return
    url, key = images.front.addresses.http, images.front.key
    with CollectionClient(url, "films", token=key) as collection:
        collection.create()
        with open_index(folder_of(images) / "collections" / "films" / "index") as index:
            index.upsert(rows, space=SPACE)
        yield CollectionLibrary(collection)
        collection.drop()


@KINDS
def test_moments_of_films_are_ranges(images: Library, kind: str, tmp_path: Path) -> None:
    """A model is told from when to when something is to be seen, and sees the frame that fits best."""
    from babelclip.mcp import build_server
    from tests.clients.mcp.asking import found, pictures, texts

    with films(images, kind, tmp_path) as library:
        made = build_server(library)
        answer = call(made, "find_moments", query="beach", limit=1)
        (best,) = found(answer)["moments"]
        assert (best["source"], best["begin"], best["end"], best["kind"]) == ("a.mp4", 1.0, 3.0, "moment")
        assert 1.0 <= best["best"] <= 2.0
        assert (best["match"] is None) == (kind == "index")  # The gateway of the test is calibrated.
        assert "from 1.0 s to 3.0 s" in texts(answer)[1]
        assert len(pictures(answer)) == 1
        other = found(call(made, "find_moments", query="people", source="b.mp4", pictures=False))
        assert [one["source"] for one in other["moments"]] == ["b.mp4"]
        some = found(call(made, "search_images", query="beach", filter={"kind": "image"}))
        assert [one["id"] for one in some["images"]] == ["image"]


def test_a_collection_without_films_has_no_moments(images: Library) -> None:
    """The gateway is asked for moments alone, and says that it has none."""
    from tests.clients.mcp.asking import found, texts

    answer = call(server(images, "collection"), "find_moments", query="beach", source="a.mp4")
    assert found(answer) == {"moments": []}
    assert texts(answer) == ["There are no films with moments."]
