"""Searching in a real browser: typing, pictures, filters and the address."""

import asyncio
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.gateway.page.browser import (
    Browser,
    beside_main,
    captions,
    chromium,
    opened,
    search,
    searching,
    told,
)
from tests.gateway.page.catalogue import Catalogue, decoded, drawing, photographs, serving

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Route

pytestmark = pytest.mark.slow  # starts a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def shop() -> Iterator[Catalogue]:
    """A collection of a few photographs, a burst and a moment of a film."""
    with serving(photographs()) as served:
        yield served


def test_it_searches_as_one_types(browser: Browser, shop: Catalogue) -> None:
    """Results come without Enter, the best first, with how many fit."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="7 photographs, in any language").wait_for()
        page.locator("#field").press_sequentially("snow dog", delay=5)
        told(page, "2 results fit")
        assert captions(page)[:2] == ["a dog in the snow", "a dog on the beach"]
        page.locator("#live").get_by_text("2 results fit", exact=True).wait_for(state="attached")


@pytest.mark.parametrize("late", ["**/entry.js*", "**/v1/collections"])
def test_what_is_typed_while_the_page_loads_is_searched_for(
    browser: Browser, shop: Catalogue, late: str
) -> None:
    """Neither the scripts nor the collections, however late they come, empty the field."""
    held: list[Route] = []
    with opened(browser, f"{shop.address}/ui/?q=zebra") as page:
        page.route(late, lambda route: held.append(route))
        page.goto(f"{shop.address}/ui/?q=car", wait_until="commit")
        page.locator("#field").fill("dog")
        while not held:
            page.wait_for_timeout(10)
        with searching(page):
            held[0].continue_()
        told(page, "2 results fit")
        assert page.locator("#field").input_value() == "dog"
        assert captions(page)[0] == "a dog on the beach"


def test_a_search_that_is_superseded_is_given_up(browser: Browser, shop: Catalogue) -> None:
    """An answer that comes late never takes the place of a later search's."""
    held = asyncio.Event()

    async def hold(body: Any) -> None:
        if body["query"] == "car":
            await held.wait()

    shop.hold = hold
    with opened(browser, f"{shop.address}/ui/") as page:
        with page.expect_request(lambda request: request.url.endswith("/search")) as first:
            page.locator("#field").fill("car")
            page.locator("#field").press("Enter")
        with page.expect_event("requestfailed", lambda failed: failed == first.value):
            search(page, "snow")
        told(page, "1 result fits")
        assert captions(page)[0] == "a dog in the snow"
        assert page.locator("#busy").is_hidden()


def test_a_word_that_is_being_composed_is_not_searched_for(browser: Browser, shop: Catalogue) -> None:
    """With an input method, as of Japanese, the search waits until the word is chosen."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.locator("#field").focus()
        session = page.context.new_cdp_session(page)
        session.send("Input.imeSetComposition", {"text": "いn", "selectionStart": 2, "selectionEnd": 2})
        page.wait_for_function("() => document.getElementById('field').value === 'いn'")
        with page.expect_response(lambda answer: answer.url.endswith("/search")):
            session.send("Input.insertText", {"text": "犬"})
        assert [body["query"] for body in shop.searches()] == ["犬"]


def test_minus_is_for_the_gateway_to_take_apart(browser: Browser, shop: Catalogue) -> None:
    """A text goes to the gateway as it was written, so every client has the same grammar."""
    with opened(browser, f"{shop.address}/ui/") as page:
        search(page, "beach -people")
        told(page, "1 result fits")
        assert shop.searches()[-1]["query"] == "beach -people"
        assert "people on the beach" not in captions(page)[:1]


def test_the_page_takes_a_text_apart_as_the_gateway_does(browser: Browser, shop: Catalogue) -> None:
    """Beside a picture the page sends terms, and they are those that the gateway would make of the text."""
    query = pytest.importorskip("babelclip.search.query")
    texts = [
        "beach -people",
        '-"parked cars" street',
        "well-known",
        "Tokyo - Kyoto",
        "−人 海",
        "-a -b c  d",
        "  ",
        '-"" x',
        "–dash",
        "a -「赤い 車」 b",
        "-",
        "--x",
        'a-"b"',
        "شاطئ -أشخاص",
        '-"a"b',
        "«-a» -«b c»",
    ]
    with opened(browser, f"{shop.address}/ui/") as page:
        module = beside_main(page, "query.js")
        script = """async ([module, texts]) => {
          const { parseQuery } = await import(new URL(module, location));
          return texts.map(parseQuery);
        }"""
        given = page.evaluate(script, [module, texts])
    for text, terms in zip(texts, given, strict=True):
        try:
            expected = [{"text": term.text, "weight": term.weight} for term in query.parse_query(text)]
        except query.InvalidQuery:
            expected = []
        assert terms == expected, text


def test_a_picture_is_searched_by_alone_and_with_a_text(browser: Browser, shop: Catalogue) -> None:
    """A picture that is picked becomes a chip and a term, to which a text may come; both outlive a reload."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="7 photographs").wait_for()
        picture: FilePayload = {"name": "large.png", "mimeType": "image/png", "buffer": png(3000, 1000)}
        with searching(page):
            page.locator("#file").set_input_files([picture])
        (term,) = shop.searches()[-1]["terms"]
        assert Image.open(io.BytesIO(decoded(term))).size == (768, 256)
        search(page, "dog -snow")
        terms = shop.searches()[-1]["terms"]
        assert [sorted(one) for one in terms] == [["image", "weight"], ["text", "weight"], ["text", "weight"]]
        assert [one["weight"] for one in terms] == [1, 1, -0.5]
        with page.expect_response(lambda answer: answer.url.endswith("/search")):
            page.reload()
        assert shop.searches()[-1]["terms"] == terms
        page.get_by_role("button", name="Remove: Picture").click()
        told(page, "1 result fits")
        assert shop.searches()[-1]["query"] == "dog -snow"


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(browser: Browser, shop: Catalogue, way: str) -> None:
    """A picture from the clipboard or another window starts a search as a picked one does."""
    give = """([way, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], "x.jpg", { type: "image/jpeg" }));
      const how = { bubbles: true, cancelable: true };
      const given = way === "paste" ? new ClipboardEvent("paste", { ...how, clipboardData: transfer })
        : new DragEvent("drop", { ...how, dataTransfer: transfer });
      document.getElementById("main").dispatchEvent(given);
    }"""
    sent = drawing("x")
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="7 photographs").wait_for()
        with searching(page):
            page.evaluate(give, [way, list(sent)])
        assert decoded(shop.searches()[-1]["terms"][0]) == sent


def test_more_like_this_and_back(browser: Browser, shop: Catalogue) -> None:
    """A result can be searched by; Back returns to the search before, and Forward to the likeness again."""
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        told(page, "2 results fit")
        page.locator(".tile").nth(1).hover()
        page.locator(".tile").nth(1).get_by_role("button", name="More like this").click()
        page.locator(".chip").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 6")
        assert shop.searches()[-1]["id"] == "p1"
        assert "like=p1" in page.url
        asked = len(shop.searches())
        page.go_back()
        told(page, "2 results fit")
        assert page.locator("#field").input_value() == "dog"
        assert page.locator(".chip").count() == 0
        page.go_forward()
        page.locator(".chip").wait_for()
        assert len(shop.searches()) == asked, "what was there before is shown at once"


def test_filters_go_with_the_search_and_stay_in_the_address(browser: Browser, shop: Catalogue) -> None:
    """Declared fields, width, kind and date become the filter of the API, and a link carries them."""
    shop.fields = {"album": "text", "year": "integer", "public": "boolean"}
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        told(page, "2 results fit")
        page.get_by_role("button", name="Filters").click()
        filters = page.get_by_role("form", name="Filters")
        for label, value in (("album", "sea"), ("year, at least", "2019"), ("Taken up to", "2020-01-31")):
            filters.get_by_label(label).fill(value)
        filters.get_by_label("public").select_option("true")
        filters.get_by_label("Width at least").select_option("1280")
        # Each filter is a search of its own; the last one has all of them.
        with page.expect_response(lambda answer: '"kind"' in (answer.request.post_data or "")):
            filters.get_by_label("Kind").select_option("image")
        expected = {
            "album": {"$contains": "sea"},
            "year": {"$gte": 2019},
            "taken": {"$lt": 1580515200},
            "public": {"$eq": True},
            "width": {"$gte": 1280},
            "kind": {"$eq": "image"},
        }
        assert shop.searches()[-1]["filter"] == expected
        link = page.url
    with opened(browser, link) as page:
        page.locator(".tile").first.wait_for()
        assert shop.searches()[-1]["filter"] == expected
        assert page.locator("#filter-count").text_content() == "6"


def test_another_collection_is_searched_by_the_same_words(browser: Browser, shop: Catalogue) -> None:
    """The picker changes the collection, and keeps the query."""
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        told(page, "2 results fit")
        page.get_by_label("Collection").select_option("other")
        told(page, "1 result fits")
        assert captions(page) == ["a dog elsewhere"]


def test_a_failure_is_a_sentence_and_can_be_tried_again(browser: Browser, shop: Catalogue) -> None:
    """When a call fails the page says why, in the gateway's own words, and a button tries again."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.route(
            "**/search", lambda route: route.fulfill(status=503, json={"error": {"message": "no room now"}})
        )
        search(page, "dog")
        page.get_by_role("alert").get_by_text("no room now").wait_for()
        page.unroute("**/search")
        page.get_by_role("button", name="Try again").click()
        told(page, "2 results fit")


def png(width: int, height: int) -> bytes:
    """A picture of that size, in more bytes than are sent as they are."""
    target = io.BytesIO()
    Image.effect_noise((width, height), 90).save(target, "PNG")
    return target.getvalue()
