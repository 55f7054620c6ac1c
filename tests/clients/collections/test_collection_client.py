"""The client of a collection, against a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip import AuthenticationError, RequestRefused, Term
from babelclip.collections import AsyncCollectionClient, CollectionClient, NewItem
from babelclip.keys.file import add
from babelclip.search.query import InvalidQuery
from tests.gateway.collections.album import BROKEN, album, made, picture
from tests.gateway.front import Front
from tests.needs import needs
from tests.places import REPOSITORY

needs("lancedb", reason="a gateway's collections are kept by LanceDB")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection that no test changes, and those that tests make."""
    with album(tmp_path_factory.mktemp("album")) as front:
        made(front, "shared")
        yield front


@pytest.fixture
def shared(front: Front) -> Iterator[CollectionClient]:
    with CollectionClient(front.addresses.http, "shared", token=front.key) as client:
        yield client


def test_a_collection_is_made_filled_changed_and_dropped(front: Front, tmp_path: Path) -> None:
    """Whatever the calls on a collection do can be done with typed arguments and answers."""
    (tmp_path / "a.png").write_bytes(picture(1))
    with CollectionClient(front.addresses.http, "made", token=front.key) as client:
        info = client.create(fields={"album": "text"})
        assert (info.name, info.model, info.space, info.dim, info.fields, info.state) == (
            *("made", "clip", "in-memory", 8),
            {"album": "text"},
            "ready",
        )
        with pytest.raises(RequestRefused, match="already") as refused:
            client.create()
        assert refused.value.code == "collection_exists"
        outcomes = client.add(
            [
                NewItem(image=tmp_path / "a.png", id="a", caption="a beach", metadata={"album": "sea"}),
                NewItem(image=tmp_path / "missing.png", id="gone"),
                NewItem(image=BROKEN, id="broken", source="broken.png"),
                NewItem(image=picture(3), source="city.png"),
            ]
        )
        assert [(one.id, one.code) for one in outcomes[:3]] == [
            ("a", ""),
            ("gone", "unreadable_file"),
            ("broken", "image_undecodable"),
        ]
        assert outcomes[3].added
        assert not outcomes[1].added
        assert (client.info().items, client.info().failed) == (2, 1)
        assert [(one.id, one.code) for one in client.items().items if one.id in ("a", "broken")] == [
            ("a", ""),
            ("broken", "image_undecodable"),
        ]
        assert "broken" not in {one.id for one in client.items(failed=False).items}
        assert [one.id for one in client.items(where={"album": "sea"}).items] == ["a"]
        assert client.get("broken").message == "the tower cannot read it"
        item = client.get("a")
        assert (item.caption, item.metadata, item.width, item.kind) == (
            "a beach",
            {"album": "sea"},
            48,
            "image",
        )
        assert client.thumbnail("a").media_type == "image/jpeg"
        assert client.thumbnail("a").data[:2] == b"\xff\xd8"
        job = client.start_job("dedup", kinds=["exact"])
        while job.state == "running":
            job = client.job(job.id)
        assert (job.state, job.collection) == ("done", "made")
        assert job.result is not None
        assert client.cancel_job(job.id).state == "done"
        assert client.delete(where={"album": "sea"}) == 1
        assert client.delete(["broken", "never"]) == 1
        client.drop()
        with pytest.raises(RequestRefused, match="collection_not_found"):
            client.info()


def test_what_fits_is_found(shared: CollectionClient) -> None:
    """Texts, images and items are searched for, in pages, with filters and a threshold."""
    found = shared.search("beach -people", top=1)
    (best,) = found.hits
    assert (best.id, best.caption, best.metadata) == ("beach", "a beach", {"album": "sea"})
    assert best.score == pytest.approx(0.9, abs=0.1)
    assert best.match is not None
    assert best.match > 0.5
    assert (found.fits, found.space, found.version) == (True, "in-memory", "1.0")
    assert [hit.id for hit in shared.search("city").hits] == ["city"]  # The others do not fit.
    everything = shared.search("city", threshold=None)
    assert everything.hits[0].id == "city"
    assert len(everything.hits) == 3
    rest = shared.search("city", threshold=None, top=1)
    assert rest.next_offset is not None
    following = shared.search("city", threshold=None, top=5, offset=rest.next_offset)
    assert [hit.id for hit in (*rest.hits, *following.hits)] == [hit.id for hit in everything.hits]
    by_image = shared.search([Term(image=picture(3)), Term(text="city", weight=0.5)], threshold=None)
    assert by_image.hits[0].id == "city"
    assert [hit.id for hit in shared.search("people", where={"album": "sea"}, threshold=None).hits] == [
        "bathers",
        "beach",
    ]
    assert "beach" not in [hit.id for hit in shared.similar("beach", threshold=None).hits]


def test_pages_of_items_follow_each_other(shared: CollectionClient) -> None:
    """All that is in a collection can be seen, in the order of the ids."""
    first = shared.items(limit=2)
    assert [one.id for one in first.items] == ["bathers", "beach"]
    assert first.next_after == "beach"
    rest = shared.items(after=first.next_after, limit=2)
    assert ([one.id for one in rest.items], rest.next_after) == (["city"], None)
    assert rest.items[0].metadata == {"album": "land"}


def test_items_get_labels(shared: CollectionClient) -> None:
    """Which of some labels an item shows is told for ids and for filters."""
    (label,) = shared.classify(["beach", "city"], ids=["city"])
    assert (label.id, label.label, label.best) == ("city", "city", "city")
    assert label.probability > 0.9
    assert {one.id for one in shared.classify(["beach", "city"], where={"album": "sea"})} == {
        "beach",
        "bathers",
    }
    with pytest.raises(ValueError, match="exactly one"):
        shared.classify(["beach"])


def test_a_key_that_searches_is_enough_to_look(front: Front) -> None:
    """Tools for a language model need a key that changes nothing and embeds nothing."""
    key = add(front.keys_file, "looks", scopes=["search"])
    with CollectionClient(front.addresses.http, "shared", token=key) as client:
        assert client.search("city").hits[0].id == "city"
        assert client.classify_image(picture(3), ["beach", "city"]).label == "city"
        assert client.classify(["beach", "city"], ids=["city"])[0].label == "city"
        assert client.thumbnail("city").data
        assert client.info().items == 3
        with pytest.raises(AuthenticationError, match="write"):
            client.delete(["city"])


def test_an_image_that_is_no_item_gets_a_label(shared: CollectionClient) -> None:
    """Whoever has a picture at hand asks the collection's model what it shows."""
    label = shared.classify_image(picture(3), ["beach", "city"])
    assert (label.id, label.label, label.best) == ("", "city", "city")
    assert label.match is not None
    assert shared.classify_image(picture(3), ["people"]).label is None
    with pytest.raises(RequestRefused, match="image_undecodable"):
        shared.classify_image(BROKEN, ["people"])


def test_an_event_loop_has_the_same_calls(front: Front, tmp_path: Path) -> None:
    """All calls can be awaited, and several at a time."""
    (tmp_path / "a.png").write_bytes(picture(1))

    async def run() -> None:
        async with AsyncCollectionClient(front.addresses.http, "awaited", token=front.key) as client:
            assert (await client.create()).name == "awaited"
            outcomes = await client.add([NewItem(image=tmp_path / "a.png", id="a")])
            assert [one.added for one in outcomes] == [True]
            (texts, images, like), (item, labels, thumbnail, info, page) = await asyncio.gather(
                asyncio.gather(
                    client.search("beach"),
                    client.search([Term(image=tmp_path / "a.png")]),
                    client.similar("a"),
                ),
                asyncio.gather(
                    client.get("a"),
                    client.classify(["beach", "city"], ids=["a"]),
                    client.thumbnail("a"),
                    client.info(),
                    client.items(),
                ),
            )
            assert [one.id for one in page.items] == ["a"]
            assert (await client.classify_image(picture(3), ["beach", "city"])).label == "city"
            assert texts.hits[0].id == images.hits[0].id == item.id == labels[0].id == "a"
            assert like.hits == ()
            assert thumbnail.data[:2] == b"\xff\xd8"
            assert info.items == 1
            with pytest.raises(RequestRefused, match="item_not_found"):
                await client.content("a")
            job = await client.start_job("compact")
            assert (await client.job(job.id)).kind == "compact"
            await client.cancel_job(job.id)
            assert await client.delete(["a"]) == 1
            await client.drop()

    asyncio.run(run())


def test_the_program_of_the_documentation_runs(
    front: Front, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What docs/collections.md shows of the client does what it says."""
    text = (REPOSITORY / "docs" / "collections.md").read_text(encoding="utf-8")
    code = text.partition("## From Python")[2].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(REPOSITORY)
    exec(code.replace("http://127.0.0.1:8000", front.addresses.http).replace("bck_…", front.key), {})
    out = capsys.readouterr().out
    assert out.count("\n") == 2, out
    added, hit = out.splitlines()
    assert added == "[AddOutcome(id='apple', code='', message='')]"
    assert hit.startswith("apple ")
    assert "{'shelf': 'left'}" in hit


def test_what_is_wrong_is_said(front: Front, shared: CollectionClient) -> None:
    """A wrong query, filter or key is an error that says so, with the gateway's word for it."""
    for wrong in ("", "  "):
        with pytest.raises(InvalidQuery, match="empty"):
            shared.search(wrong)
    with pytest.raises(InvalidQuery, match="missing"):
        shared.search([Term(image="missing.png")])
    with pytest.raises(InvalidQuery, match="threshold"):
        shared.search("beach", threshold=3.0)
    with pytest.raises(RequestRefused) as refused:
        shared.search("beach", where={"nothing": 3})
    assert refused.value.code == "malformed_request"
    assert "nothing" in refused.value.message
    with pytest.raises(RequestRefused, match="item_not_found"):
        shared.get("never")
    with pytest.raises(ValueError, match="no id"):
        shared.get("..")
    with pytest.raises(TypeError, match="not one label"):
        shared.classify("beach", ids=["city"])
    with (
        CollectionClient(front.addresses.http, "shared", token="bck_wrongkey") as client,
        pytest.raises(AuthenticationError, match="refused the token") as error,
    ):
        client.info()
    assert "bck_wrongkey" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "name", "says"),
    [
        ("ftp://127.0.0.1", "x", "no address"),
        ("grpc://127.0.0.1:1", "x", "over HTTP"),
        ("http://user:pass@127.0.0.1", "x", "no user name"),
        ("http://127.0.0.1", "", "name the collection"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(url: str, name: str, says: str) -> None:
    """A client that could never answer is not made."""
    with pytest.raises(ValueError, match=says):
        CollectionClient(url, name)
