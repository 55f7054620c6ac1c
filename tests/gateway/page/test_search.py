"""Searching in a real browser: typing, pictures, the line, the address, and names that would be markup."""

import asyncio
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.gateway.page.browser import Browser, chromium, opened, search, searching
from tests.gateway.page.catalogue import Catalogue, Item, decoded, drawing, serving

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

pytestmark = pytest.mark.slow  # starts a browser

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'.jpg'


def beside_main(page: "Page", name: str) -> str:
    """The address of another module of the page's."""
    source = page.locator('script[type="module"]').get_attribute("src")
    assert source is not None
    return source.replace("main.js", name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def shop() -> Iterator[Catalogue]:
    """A collection of a few photographs, a burst and a moment of a film."""
    captions = [
        "a dog on the beach",
        "a dog in the snow",
        "people on the beach",
        "a red car",
        "ein Hund",
        "كلب",
    ]
    items = [Item(f"p{place}", f"/photos/{place}.jpg", caption) for place, caption in enumerate(captions)]
    items[0].duplicates = ["p4", "p5"]
    items.append(Item("film", "/films/walk.webm", "a walk", "moment", begin=63.5, end=71.0))
    with serving(Catalogue({"photos": items, "other": [Item("o", "o.jpg", "a dog elsewhere")]})) as served:
        yield served


def told(page: Any, text: str) -> None:
    """Waits until the page says something above the results."""
    page.locator("#note").get_by_text(text).wait_for()


def captions(page: Any) -> list[str]:
    """What the tiles are called, in order."""
    found: list[str] = page.locator(".tile .name").all_text_contents()
    return found


def test_before_a_search_all_photographs_are_shown(browser: Browser, shop: Catalogue) -> None:
    """Whoever opens a collection sees what is in it, by the filters that are set, and can open it."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="7 photographs, in any language").wait_for()
        page.locator(".tile").nth(6).wait_for()
        assert captions(page) == ["a walk", *(item.caption for item in shop.collections["photos"][:6])]
        page.locator("#end").get_by_text("These were all.").wait_for()
        page.locator(".tile .open").nth(1).click()
        page.get_by_role("dialog", name="a dog on the beach").locator("dl").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Filters", exact=True).click()
        page.get_by_label("Kind").select_option("moment")
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")
        assert shop.searches() == []
        search(page, "dog")
        page.get_by_role("link", name="babelclip").click()
        page.locator(".tile").nth(6).wait_for()
        page.get_by_role("heading", name="7 photographs, in any language").wait_for()


def test_all_photographs_come_page_by_page(browser: Browser) -> None:
    """However many there are, they are loaded as far as one scrolls, in their order."""
    items = [Item(f"i{place:04}", f"{place:04}.jpg") for place in range(1000)]
    with serving(Catalogue({"many": items})) as served, opened(browser, f"{served.address}/ui/") as page:
        page.locator(".tile").first.wait_for()
        page.wait_for_function(
            """() => {
              scrollTo(0, document.body.scrollHeight);
              return Number([...document.querySelectorAll(".tile")].at(-1).dataset.index) === 999;
            }"""
        )
        assert captions(page)[-1] == "0999.jpg"


def test_it_searches_as_one_types(browser: Browser, shop: Catalogue) -> None:
    """Results come without Enter, the best first, with how many fit."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="7 photographs, in any language").wait_for()
        page.locator("#field").press_sequentially("snow dog", delay=5)
        told(page, "2 results fit")
        assert captions(page)[:2] == ["a dog in the snow", "a dog on the beach"]
        page.locator("#live").get_by_text("2 results fit", exact=True).wait_for(state="attached")


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


def test_the_line_stands_between_what_fits_and_what_does_not(browser: Browser, shop: Catalogue) -> None:
    """What follows the line is told apart for eyes and screen readers, and so is that nothing fits."""
    with opened(browser, f"{shop.address}/ui/") as page:
        search(page, "dog")
        told(page, "2 results fit")
        order = page.locator("#results > li").evaluate_all("tiles => tiles.map(tile => tile.className)")
        assert [name.split()[0] for name in order] == ["tile"] * 2 + ["threshold"] + ["tile"] * 5
        assert page.get_by_role("button", name="people on the beach, 10% match, does not fit").count() == 1
        search(page, "zebra")
        page.get_by_role("heading", name="Nothing here fits “zebra”").wait_for()
        assert (
            page.locator("#results > li").first.text_content()
            == "From here on probably not what you look for"
        )


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


def test_a_burst_takes_one_place_and_opens(browser: Browser, shop: Catalogue) -> None:
    """Photographs that are nearly the same are one tile with their number, and are all seen in it."""
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        page.get_by_role("button", name="a dog on the beach, 40% match, 2 more like it").click()
        viewer = page.get_by_role("dialog", name="a dog on the beach")
        viewer.get_by_role("button", name="ein Hund").click()
        page.get_by_role("dialog", name="ein Hund").wait_for()
        assert "item=p4" in page.url


def test_a_film_begins_at_its_moment(browser: Browser, shop: Catalogue) -> None:
    """A moment's tile has its time, and its film is opened there."""
    shop.collections["photos"][-1].content = ("video/webm", b"no film")
    with opened(browser, f"{shop.address}/ui/?q=walk") as page:
        page.get_by_role("button", name="a walk, 40% match, video from 1:03 to 1:11").wait_for()
        with page.expect_request(lambda request: request.url.endswith("/content")):
            page.locator(".tile .open").first.click()
        page.get_by_text("This browser cannot play the film.").wait_for()


def test_names_never_become_markup(browser: Browser) -> None:
    """A file's name or a caption that is HTML is shown as the text it is, everywhere."""
    hostile = Item("h", f"/photos/{HOSTILE}", "", metadata={HOSTILE: HOSTILE}, duplicates=["h2"])
    other = Item("h2", "x", HOSTILE)
    catalogue = Catalogue({"photos": [hostile, other]}, fields={"<b>": "text"})
    catalogue.groups = [{"kind": HOSTILE, "keep": "h", "ids": ["h", "h2"]}]
    with serving(catalogue) as served, opened(browser, f"{served.address}/ui/") as page:
        search(page, HOSTILE)
        page.locator(".tile").nth(1).wait_for()
        assert captions(page) == [HOSTILE.split("/")[-1], HOSTILE] or captions(page) == [
            HOSTILE,
            HOSTILE.split("/")[-1],
        ]
        page.locator("[data-index='0'] .open").click()
        page.locator(".viewer dd").first.wait_for()
        page.keyboard.press("Escape")
        page.locator("#filter-button").click()
        page.get_by_label("<b>").wait_for()
        page.locator("#groups-button").click()
        page.get_by_role("button", name="Look for duplicates").click()
        page.locator(".groups .strip button").first.wait_for()
        assert page.locator("img[src='x'], main script, dialog script, b").count() == 0
        assert "babelclip" in page.title()


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


def test_100_000_results_are_scrolled_without_holding_them_all(browser: Browser) -> None:
    """However far one scrolls, the document holds what is near the window, and the results stay in order."""
    items = [Item(f"i{place}", f"{place}.jpg", "a dog") for place in range(100_000)]
    with (
        serving(Catalogue({"many": items})) as served,
        opened(browser, f"{served.address}/ui/?q=dog") as page,
    ):
        page.locator(".tile").first.wait_for()
        # Scrolled to the end again and again, until the 1,500th is there; the most tiles at a time are noted.
        page.wait_for_function(
            """() => {
              scrollTo(0, document.body.scrollHeight);
              const tiles = document.querySelectorAll(".tile");
              window.most = Math.max(window.most ?? 0, tiles.length);
              return Number([...tiles].at(-1).dataset.index) > 1500;
            }"""
        )
        assert page.evaluate("() => window.most") < 150
        shown = page.locator(".tile").evaluate_all("tiles => tiles.map(tile => Number(tile.dataset.index))")
        assert shown == list(range(shown[0], shown[0] + len(shown)))
        assert shown[0] > 1000
        # The rest by the module that lays them out: 100,000 are taken up in one go.
        module = beside_main(page, "layout.js")
        count, rows, last_row, at_end, whole = page.evaluate(
            """async (module) => {
              const { Layout } = await import(new URL(module, location));
              const layout = new Layout(1200, 240, 8);
              for (let item = 0; item < 100000; item += 1) layout.add(0.6 + (item % 7) / 4);
              layout.flush();
              const width = (row) => row.widths.reduce((sum, each) => sum + each + 8, -8);
              const whole = layout.rows.slice(0, -1).every((row) => Math.abs(width(row) - 1200) < 0.01);
              const last = [layout.rowOf(99999), layout.rowAt(layout.height)];
              return [layout.count, layout.rows.length, ...last, whole];
            }""",
            module,
        )
        assert (count, last_row, at_end, whole) == (100_000, rows - 1, rows - 1, True)


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
