"""What a search shows in a real browser: pages, the line, bursts, films, and names that would be markup."""

from collections.abc import Iterator

import pytest

from tests.gateway.page.browser import Browser, beside_main, captions, chromium, opened, search, told
from tests.gateway.page.catalogue import Catalogue, Item, photographs, serving

pytestmark = pytest.mark.slow  # starts a browser
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>"\'.jpg'


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
