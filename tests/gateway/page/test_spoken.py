"""The language of the text that is searched for, on the page: where it is offered, sent and kept."""

from collections.abc import Iterator

import pytest

from tests.gateway.page.browser import Browser, chromium, opened, search, searching, serious_findings
from tests.gateway.page.catalogue import Catalogue, Item, serving

pytestmark = pytest.mark.slow  # starts a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def shop() -> Iterator[Catalogue]:
    """A collection of a model that is told languages, and one of a model that is told none."""
    items = [Item("p0", "p0.jpg", "a dog"), Item("p1", "p1.jpg", "a red car")]
    made = Catalogue({"told": items, "untold": items}, languages={"told": ["en", "bn", "zh-Hant"]})
    with serving(made) as served:
        yield served


def test_a_language_is_chosen_and_goes_with_the_text(browser: Browser, shop: Catalogue) -> None:
    """The model's default stands first in force and says nothing; a link carries what was chosen."""
    with opened(browser, f"{shop.address}/ui/?c=told") as page:
        spoken = page.get_by_role("combobox", name="Language of the text")
        spoken.wait_for()
        assert spoken.locator("option").all_text_contents() == ["Bangla", "English", "Traditional Chinese"]
        search(page, "dog")
        assert "language" not in shop.searches()[-1]
        with searching(page):
            spoken.select_option("bn")
        assert shop.searches()[-1]["language"] == "bn"
        assert "lang=bn" in page.url
        with page.expect_response(lambda answer: answer.url.endswith("/search")):
            page.reload()
        assert shop.searches()[-1]["language"] == "bn"
        page.wait_for_function("() => document.getElementById('spoken').value === 'bn'")


def test_a_model_that_is_told_none_offers_none(browser: Browser, shop: Catalogue) -> None:
    """With another collection the choice goes, and what was chosen is not sent any more."""
    with opened(browser, f"{shop.address}/ui/?c=told&q=dog&lang=bn") as page:
        page.get_by_role("combobox", name="Language of the text").wait_for()
        with searching(page):
            page.get_by_label("Collection", exact=True).select_option("untold")
        assert page.locator("#spoken").is_hidden()
        assert "language" not in shop.searches()[-1]


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_there_is_room_for_the_choice(browser: Browser, shop: Catalogue, width: int) -> None:
    """On a phone and a screen nothing stands out of the page, and nothing keeps people out."""
    size = {"width": width, "height": 800}
    with opened(browser, f"{shop.address}/ui/?c=told", viewport=size, bypass_csp=True) as page:
        page.get_by_role("combobox", name="Language of the text").wait_for()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert serious_findings(page) == []
