"""handlers/limits.py owns the limits of a tower; where a place must repeat one, it says the same."""

import re
from dataclasses import asdict

import pytest

from babelclip import wire
from babelclip.client import calls
from export import archive
from handlers import limits
from handlers.config import Settings
from tests.places import REPOSITORY


def properties() -> dict[str, str]:
    lines = (REPOSITORY / "config.properties").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#") and "=" in line)
    return {name: value for name, _, value in pairs}


def test_an_archive_has_the_limits_of_the_handlers() -> None:
    """An export writes the defaults out, and not others."""
    defaults = asdict(Settings())
    assert archive.LIMITS.items() <= defaults.items()
    assert {name for name in archive.LIMITS if name.startswith("max_")} == {
        name for name in defaults if name.startswith("max_") and name != "max_pass_tokens"
    }


def test_torchserve_passes_what_a_tower_takes_and_gives() -> None:
    """The largest image fits in a request in base64, and the largest response in a response."""
    given = properties()
    assert int(given["max_request_size"]) > limits.MAX_IMAGE_BYTES * 4 / 3 + 100_000
    assert int(given["max_response_size"]) == limits.MAX_RESPONSE_BYTES


def test_the_client_stays_below_the_servers_limits() -> None:
    """No message that the client makes by itself is refused for its items or its bytes."""
    assert wire.MAX_ITEMS <= limits.MAX_ITEMS
    assert limits.MAX_IMAGE_BYTES < calls.LARGEST_MESSAGE < int(properties()["max_request_size"])


DOCUMENTED = {
    "docs/errors.md": [
        f"`max_text_bytes`, {limits.MAX_TEXT_BYTES:,} ",
        f"`max_image_bytes`, {limits.MAX_IMAGE_BYTES:,} ",
        f"`max_pixels`, {limits.MAX_PIXELS:,}; {limits.MAX_SIDE:,} a side",
        f"up to {limits.LARGEST_MAX_PIXELS:,}.",
        f"at most {limits.BYTES_PER_PIXEL} bytes for each of `max_pixels`",
        f"`max_items`, {limits.MAX_ITEMS:,};",
        f"`max_response_bytes`, {limits.MAX_RESPONSE_BYTES:,};",
    ],
    "docs/wire.md": [f"`input` may have {limits.MAX_ITEMS:,} texts"],
    "config.properties": [
        f"an image at the handler's limit of {limits.MAX_IMAGE_BYTES // 10**6} MB",
        f"the same {limits.MAX_RESPONSE_BYTES // 2**20} MiB",
        f"{limits.MAX_ITEMS} items (max_items)",
    ],
}


@pytest.mark.parametrize(("page", "says"), [(page, says) for page in DOCUMENTED for says in DOCUMENTED[page]])
def test_the_documentation_names_the_limits(page: str, says: str) -> None:
    """A reader who counts on a documented limit is not refused."""
    assert says in re.sub(r"\s+", " ", (REPOSITORY / page).read_text(encoding="utf-8"))


def test_no_other_module_has_a_limit_of_its_own() -> None:
    """The figures stand once in the code: a second place would be forgotten when the first is changed."""
    figures = re.compile(r"\b(50_?000_?000|20_?000_?000|33_?554_?432|178_?956_?970)\b")
    sources = [
        path
        for room in ("handlers", "export", "models", "training")
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        if figures.search(path.read_text(encoding="utf-8"))
    ]
    assert [path.relative_to(REPOSITORY).as_posix() for path in sources] == ["handlers/limits.py"]
