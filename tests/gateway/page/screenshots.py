"""Takes the pictures of the page that the documentation shows, of what the demonstration opens.

    scripts/demo --page
    python -m tests.gateway.page.screenshots ADDRESS KEY docs

ADDRESS and KEY are those that the demonstration says. docs/page-light.png and docs/page-dark.png come of it,
and a list of the photographs that they show, docs/page-photographs.md.
"""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.gateway.page.browser import chromium, opened
from training.recipes.photos.questions import SAMPLES

QUERIES = (("light", "γάτα"), ("dark", "автобус"))
SIZE = {"width": 1280, "height": 720}
HEAD = """# The photographs in the pictures of the page

The screenshots show these photographs, which are those of [the demonstration](photos.md); each link leads to
the photograph and its author. They were scaled down, cropped by the window, and drawn in fewer colours.

| in | photograph | licence |
|---|---|---|
"""


def main(arguments: list[str]) -> None:
    """Writes the two pictures and the list."""
    address, key, docs = arguments
    entries = json.loads((SAMPLES / "captions.json").read_text(encoding="utf-8"))
    by_caption = {min(entry["captions"], key=len): entry for entry in entries}
    lines = []
    with chromium() as browser:
        for scheme, query in QUERIES:
            options: dict[str, Any] = {"color_scheme": scheme, "viewport": SIZE}
            with opened(browser, f"{address}/ui/?q={query}", **options) as page:
                page.get_by_role("dialog", name="Key").get_by_label("Key").fill(key)
                page.get_by_role("button", name="Use the key").click()
                page.mouse.move(0, 0)
                page.locator(".tile").first.wait_for()
                page.wait_for_function(
                    "() => [...document.querySelectorAll('.tile img')].every(image => image.matches('.here'))"
                )
                visible = page.locator(".tile").evaluate_all(
                    """tiles => tiles.filter(tile => tile.getBoundingClientRect().top < innerHeight)
                      .map(tile => tile.querySelector(".name").textContent)"""
                )
                name = f"page-{scheme}.png"
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                # 256 colours with dithering: photographs at a third of the bytes.
                palette = picture.quantize(256, kmeans=8)
                shown = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
                shown.save(Path(docs) / name)
                lines += [credit(name, by_caption[found]) for found in visible]
    (Path(docs) / "page-photographs.md").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def credit(name: str, entry: dict[str, Any]) -> str:
    """A row of the list: where the photograph is from, and its licence."""
    source = entry["source"]
    number = re.findall(r"id=(\d+)", source)
    photograph = f"[Flickr {number[0]}]({source})" if number else f"{entry['file']}, {source}"
    return f"| {name} | {photograph} | [{entry['licence']}]({entry['licence_url']}) |"


if __name__ == "__main__":
    main(sys.argv[1:])
