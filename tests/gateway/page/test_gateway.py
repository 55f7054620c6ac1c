"""The page before a real gateway with collections: its calls are those that the gateway has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.keys.file import add
from tests.gateway.collections.album import BROKEN, album, call, made, picture, told
from tests.gateway.front import Front
from tests.gateway.page.browser import Browser, chromium, opened, search, searching

pytestmark = pytest.mark.slow  # starts a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that asks for a key and keeps collections."""
    with album(tmp_path_factory.mktemp("album")) as served:
        yield served


def enter(page: Any, key: str) -> None:
    """Gives the page a key."""
    page.get_by_role("dialog", name="Key").get_by_label("Key").fill(key)
    page.get_by_role("button", name="Use the key").click()


def test_from_nothing_to_a_photograph_that_is_found(browser: Browser, front: Front) -> None:
    """A collection is made, filled and searched on the page alone, and what was uploaded is seen in full."""
    files: Any = [
        {"name": f"{name}.png", "mimeType": "image/png", "buffer": data}
        for name, data in (
            ("beach", picture(1)),
            ("bathers", picture(2)),
            ("<b>city", picture(3)),
            ("broken", BROKEN),
        )
    ]
    with opened(browser, f"{front.addresses.http}/") as page:
        enter(page, front.key)
        page.get_by_role("heading", name="There are no collections yet").wait_for()
        page.get_by_role("button", name="Add photographs").click()
        page.get_by_label("Name of the new collection").fill("holiday")
        page.get_by_role("button", name="Make the collection").click()
        dialog = page.get_by_role("dialog", name="Add photographs to holiday")
        dialog.locator("input[type=file]").set_input_files(files)
        dialog.get_by_text("3 added, 1 not").wait_for()
        dialog.get_by_text("the tower cannot read it").wait_for()
        dialog.get_by_role("button", name="Close").click()
        page.get_by_role("heading", name="3 photographs, in any language").wait_for()
        search(page, "beach -people")
        page.locator("#note").get_by_text("2 results fit").wait_for()
        page.locator(".tile img.here").nth(2).wait_for()
        names = page.locator(".tile .name").all_text_contents()
        assert names[0] == "beach.png"
        assert "<b>city.png" in names
        page.locator(".tile .open").first.click()
        viewer = page.get_by_role("dialog", name="beach.png")
        page.wait_for_function("() => document.querySelector('.stage img')?.naturalWidth === 48")
        viewer.get_by_role("button", name="More like this").click()
        page.locator(".chip img.here").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 2")
        assert page.locator(".tile .name").first.text_content() == "bathers.png"


def test_a_picture_and_a_text_together(browser: Browser, front: Front) -> None:
    """What the page sends for a picture, a text beside it, and filters is what the gateway takes."""
    made(front, "filtered")
    with opened(browser, f"{front.addresses.http}/ui/?c=filtered") as page:
        enter(page, front.key)
        page.get_by_role("heading", name="3 photographs").wait_for()
        sent: Any = {"name": "x.png", "mimeType": "image/png", "buffer": picture(3)}
        with searching(page):
            page.locator("#file").set_input_files([sent])
        assert page.locator(".tile .name").first.text_content() == "city"
        search(page, "beach -people")
        page.locator(".tile").first.wait_for()
        page.get_by_role("button", name="Filters", exact=True).click()
        with page.expect_response(lambda answer: answer.url.endswith("/search")) as answer:
            page.get_by_label("album").fill("sea")
        assert answer.value.ok, answer.value.text()
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 2")


def test_the_first_view_is_the_gateways_list(browser: Browser, front: Front) -> None:
    """What the page asks for without a query, with a filter and without, is what the gateway gives."""
    made(front, "listed")
    with opened(browser, f"{front.addresses.http}/ui/?c=listed") as page:
        enter(page, front.key)
        page.locator(".tile img.here").nth(2).wait_for()
        assert page.locator(".tile .name").all_text_contents() == ["bathers", "a beach", "city"]
        page.get_by_role("button", name="Filters", exact=True).click()
        page.get_by_label("album").fill("land")
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")
        assert page.locator(".tile .name").first.text_content() == "city"


def test_a_key_that_may_only_search_is_told_so(browser: Browser, front: Front) -> None:
    """Who may not add photographs reads why beside the file, and can search all the same."""
    made(front, "shared")
    key = add(front.keys_file, "reader", scopes=("search",))
    with opened(browser, f"{front.addresses.http}/ui/?c=shared&q=city") as page:
        enter(page, key)
        page.locator(".tile img.here").first.wait_for()
        page.get_by_role("button", name="Add photographs").click()
        sent: Any = {"name": "x.png", "mimeType": "image/png", "buffer": picture(9)}
        page.locator("dialog input[type=file]").set_input_files([sent])
        page.locator(".outcomes").get_by_text("this call needs the scope write").wait_for()


def test_without_keys_and_without_collections(browser: Browser, tmp_path: Path) -> None:
    """A gateway that asks for no key shows pictures by their addresses; one without collections says so."""
    (with_collections := tmp_path / "with").mkdir()
    with album(with_collections, authentication=False) as front:
        made(front, "open")
        with opened(browser, f"{front.addresses.http}/ui/?q=city") as page:
            page.locator(".tile img.here").first.wait_for()
            assert page.locator(".tile img").first.evaluate("image => image.src").startswith("http")
    with album(tmp_path, collections="") as front, opened(browser, f"{front.addresses.http}/ui/") as page:
        assert told(call(front, "GET", ""), 404)["error"]["code"] == "collections_off"
        enter(page, front.key)
        page.get_by_role("heading", name="This gateway keeps no collections").wait_for()
