"""Who may use the page: with a keyboard, a screen reader, a phone, another language, a key."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.gateway.page.browser import Browser, chromium, opened, search, serious_findings
from tests.gateway.page.catalogue import Catalogue, Item, serving

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload

pytestmark = pytest.mark.slow  # starts a browser

KEY = "bck_a-key-of-the-test"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def shop() -> Iterator[Catalogue]:
    """A collection with enough to fill several rows, of which half fit "dog"."""
    items = [
        Item(
            f"p{place}", f"{place}.jpg", f"a dog, number {place}" if place < 10 else f"a cat, number {place}"
        )
        for place in range(20)
    ]
    items[0].duplicates = ["p18", "p19"]
    groups = [{"kind": "near", "keep": "p1", "ids": ["p1", "p2"]}]
    with serving(Catalogue({"photos": items}, fields={"album": "text"}, groups=groups)) as served:
        yield served


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, shop: Catalogue, scheme: Any) -> None:
    """Contrast, names, roles and order hold up to WCAG 2.2 AA on every part of the page, light and dark."""
    shop.refused = {"bad.jpg": ("image_undecodable", "the image cannot be decoded")}
    with opened(browser, f"{shop.address}/ui/", color_scheme=scheme, bypass_csp=True) as page:
        page.get_by_role("heading", name="20 photographs").wait_for()
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert serious_findings(page) == []
        search(page, "dog")
        page.locator(".threshold").wait_for()
        page.get_by_role("button", name="Filters").click()
        page.get_by_role("button", name="Settings").click()
        page.locator(".tile").nth(2).hover()
        assert serious_findings(page) == []
        page.locator(".tile .open").first.click()
        page.get_by_role("dialog").locator("dl").wait_for()
        assert serious_findings(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Add photographs").click()
        files: list[FilePayload] = [
            {"name": name, "mimeType": "image/jpeg", "buffer": b"x"} for name in ("bad.jpg", "good.jpg")
        ]
        page.locator("dialog input[type=file]").set_input_files(files)
        page.get_by_text("1 added, 1 not").first.wait_for()
        assert serious_findings(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Duplicates").click()
        page.get_by_role("button", name="Look for duplicates").click()
        page.locator(".groups").wait_for()
        assert serious_findings(page) == []


def test_the_keyboard_is_enough(browser: Browser, shop: Catalogue) -> None:
    """From the field into the results, about in them, into one and to its likenesses, without a mouse."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="20 photographs").wait_for()
        page.keyboard.press("/")
        page.keyboard.type("dog")
        page.keyboard.press("Enter")
        page.locator("#note").get_by_text("10 results fit").wait_for()
        page.keyboard.press("ArrowDown")
        assert focused(page) == 0
        page.keyboard.press("ArrowRight")
        assert focused(page) == 1
        page.keyboard.press("End")
        assert focused(page) == 19
        page.keyboard.press("Home")
        page.keyboard.press("ArrowDown")
        below = focused(page)
        assert below > 1
        page.keyboard.press("ArrowUp")
        assert focused(page) == 0
        page.keyboard.press("ArrowUp")
        assert page.evaluate("() => document.activeElement.id") == "field"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        viewer = page.get_by_role("dialog", name="a dog, number 0")
        viewer.wait_for()
        page.keyboard.press("ArrowRight")
        page.get_by_role("dialog", name="a dog, number 1").wait_for()
        page.keyboard.press("Escape")
        page.wait_for_function("() => document.activeElement?.closest('.tile')?.dataset.index === '1'")
        with page.expect_response(lambda answer: answer.url.endswith("/similar")):
            page.keyboard.press("m")
        page.locator(".chip").wait_for()
        assert shop.searches()[-1]["id"] == "p1"


def test_one_stop_of_the_tabulator_holds_all_results(browser: Browser, shop: Catalogue) -> None:
    """Tab goes past the results in two steps, the tile and what it offers, and not through each of them."""
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        page.locator(".tile").first.wait_for()
        reachable = page.locator("#results button[tabindex='0']")
        assert reachable.count() == 2
        assert page.locator("#results li").first.get_attribute("aria-setsize") == "20"
        page.get_by_role("link", name="Skip to the results").press("Enter")
        assert focused(page) == 0


def test_single_keys_can_be_turned_off(browser: Browser, shop: Catalogue) -> None:
    """Who speaks to the computer can turn off the keys / and M, which speech may press unasked."""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="20 photographs").wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Keys / and M as shortcuts").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        assert page.evaluate("() => document.activeElement.id") == "menu-button"


def test_right_to_left_is_mirrored(browser: Browser, shop: Catalogue) -> None:
    """In Arabic the page runs from the right, and the arrows go where they point."""
    with opened(browser, f"{shop.address}/ui/?q=dog", locale="ar") as page:
        page.locator(".tile").first.wait_for()
        assert page.locator("html").get_attribute("dir") == "rtl"
        first, second = (page.locator(".tile").nth(place).bounding_box() for place in (0, 1))
        assert first is not None
        assert second is not None
        assert first["x"] > second["x"]
        page.locator(".tile .open").first.focus()
        page.keyboard.press("ArrowLeft")
        assert focused(page) == 1
        assert page.get_by_role("button", name="أضف صورًا").count() == 1
        # What is typed has a direction of its own, whatever the page's.
        page.locator("#field").fill("a dog")
        assert page.locator("#field").evaluate("field => getComputedStyle(field).direction") == "ltr"
        page.get_by_role("button", name="الإعدادات").click()
        page.locator("#language").select_option("de")
        page.get_by_role("button", name="Fotos hinzufügen").wait_for()
        assert page.locator("html").get_attribute("dir") == "ltr"


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_room_for_all(browser: Browser, shop: Catalogue, width: int) -> None:
    """On a phone nothing sticks out at the side, and what is to be touched is large enough for it."""
    size: Any = {"width": width, "height": 700}
    with opened(browser, f"{shop.address}/ui/?q=dog", viewport=size, has_touch=True, is_mobile=True) as page:
        page.locator(".tile").first.wait_for()
        for _ in range(2):
            sticking_out = page.evaluate(
                """(width) => [...document.querySelectorAll("body *")].filter((element) => {
                  const box = element.getBoundingClientRect();
                  return box.width > 1 && box.height > 1 && (box.right > width + 1 || box.left < -1);
                }).map((element) => element.outerHTML.slice(0, 80))""",
                width,
            )
            assert sticking_out == []
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            page.get_by_role("button", name="Filters", exact=True).tap()
        small = page.locator("button:visible").evaluate_all(
            "all => all.filter(each => each.offsetWidth < 24 || each.offsetHeight < 24).length"
        )
        assert small == 0, "WCAG 2.2 wants 24 pixels at least"
        page.locator(".tile .open").first.tap()
        page.get_by_role("dialog").locator("dl").wait_for()
        page.go_back()
        page.locator(".viewer[open]").wait_for(state="detached")


def test_colours_can_be_chosen_and_stay(browser: Browser, shop: Catalogue) -> None:
    """Who wants the dark page on a light device chooses it once."""
    with opened(browser, f"{shop.address}/ui/", color_scheme="light") as page:
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Colours").select_option("dark")
        page.reload()
        assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_key_is_asked_for_and_sent_with_pictures_alone(browser: Browser, shop: Catalogue) -> None:
    """A gateway with keys is used by a key, which goes in headers and never in an address or a cookie."""
    shop.key = KEY
    addresses = []
    with opened(browser, f"{shop.address}/ui/?q=dog") as page:
        page.on("request", lambda request: addresses.append(request.url))
        dialog = page.get_by_role("dialog", name="Key")
        dialog.get_by_label("Key").fill("bck_wrong")
        dialog.get_by_role("button", name="Use the key").click()
        dialog.get_by_text("The gateway does not accept this key.").wait_for()
        dialog.get_by_label("Key").fill(KEY)
        dialog.get_by_label("Key").press("Enter")
        page.locator(".tile img.here").first.wait_for()
        source = page.locator(".tile img").first.get_attribute("src")
        assert source is not None
        assert source.startswith("blob:")
        assert not any(KEY in address for address in (*addresses, page.url))
        assert page.context.cookies() == []
        assert page.evaluate("() => JSON.stringify(localStorage)").find(KEY) < 0
        page.reload()
        page.locator(".tile img.here").first.wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_role("button", name="Forget the key").click()
        page.get_by_role("dialog", name="Key").wait_for()


def test_pictures_behind_a_key_are_freed_out_of_view(browser: Browser, shop: Catalogue) -> None:
    """Blobs of pictures that have left the window are given back, so that scrolling takes no memory."""
    shop.key = KEY
    shop.collections["photos"] = [Item(f"i{place}", f"{place}.jpg", "a dog") for place in range(600)]
    counting = """() => {
      window.held = new Set();
      const [make, free] = [URL.createObjectURL, URL.revokeObjectURL];
      URL.createObjectURL = (blob) => { const url = make(blob); window.held.add(url); return url; };
      URL.revokeObjectURL = (url) => { window.held.delete(url); free(url); };
    }"""
    with opened(browser, f"{shop.address}/ui/") as page:
        page.evaluate(counting)
        page.get_by_role("dialog", name="Key").get_by_label("Key").fill(KEY)
        page.get_by_role("button", name="Use the key").click()
        page.get_by_role("heading", name="600 photographs").wait_for()
        search(page, "dog")
        page.locator(".tile img.here").first.wait_for()
        page.wait_for_function(
            """() => {
              scrollTo(0, document.body.scrollHeight);
              const last = [...document.querySelectorAll(".tile")].at(-1);
              return last.dataset.index === "599" && last.querySelector("img.here");
            }"""
        )
        held, shown = page.evaluate("() => [window.held.size, document.querySelectorAll('.tile img').length]")
        assert 0 < held <= shown < 150


def test_an_upload_has_an_outcome_for_each_file(browser: Browser, shop: Catalogue) -> None:
    """Files go one by one; what is refused says why, hurts no other, and the new ones are found at once."""
    shop.refused = {"<b>broken</b>.jpg": ("image_undecodable", "the image cannot be decoded <i>")}
    names = ["one.jpg", "<b>broken</b>.jpg", "two dog.jpg"]
    files: Any = [{"name": name, "mimeType": "image/jpeg", "buffer": jpeg()} for name in names]
    with opened(browser, f"{shop.address}/ui/") as page:
        page.get_by_role("heading", name="20 photographs").wait_for()
        page.get_by_role("button", name="Add photographs").click()
        dialog = page.get_by_role("dialog", name="Add photographs to photos")
        dialog.locator("input[type=file]").set_input_files(files)
        dialog.get_by_text("2 added, 1 not").wait_for()
        rows = dialog.locator(".outcomes li")
        assert [row.split("\n") for row in rows.all_inner_texts()] == [
            ["one.jpg", "added"],
            ["<b>broken</b>.jpg", "not added", "the image cannot be decoded <i>"],
            ["two dog.jpg", "added"],
        ]
        dialog.get_by_role("button", name="Close").click()
        page.get_by_role("heading", name="22 photographs").wait_for()


def test_a_gateway_without_collections_says_so(browser: Browser, shop: Catalogue) -> None:
    """Where there is nothing to search the page says what to do: turn it on, make a collection, add to it."""
    with opened(browser, "about:blank") as page:
        off = {"error": {"message": "this gateway keeps no collections: start it with --collections"}}
        page.route("**/v1/collections", lambda route: route.fulfill(status=404, json=off))
        page.goto(f"{shop.address}/ui/")
        page.get_by_role("heading", name="This gateway keeps no collections").wait_for()
        page.locator("#note").get_by_text("start it with --collections").wait_for()
        page.unroute("**/v1/collections")
        shop.collections.clear()
        page.reload()
        page.get_by_role("heading", name="There are no collections yet").wait_for()
        page.get_by_role("button", name="Add photographs").click()
        dialog = page.locator("#sheet")
        dialog.get_by_label("Name of the new collection").fill("Not A Name")
        dialog.get_by_role("button", name="Make the collection").click()
        dialog.get_by_role("alert").get_by_text("letters, digits and -").wait_for()
        dialog.get_by_label("Name of the new collection").fill("holiday")
        dialog.get_by_role("button", name="Make the collection").click()
        page.get_by_role("dialog", name="Add photographs to holiday").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("heading", name="This collection is still empty").wait_for()


def focused(page: Any) -> int:
    """The index of the tile that has the focus."""
    index = page.evaluate("() => document.activeElement?.closest('.tile')?.dataset.index ?? -1")
    return int(index)


def jpeg() -> bytes:
    """A small picture."""
    target = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(target, "JPEG")
    return target.getvalue()
