"""Takes the pictures of the page that the documentation shows.

    python -m tests.gateway.page.screenshots PHOTOGRAPHS docs

PHOTOGRAPHS is a folder with `captions.json`, a list of objects with `file`, `captions`, `width`, `height`,
`license`, `license_url` and `flickr_url`. docs/page-light.png and docs/page-dark.png come of it, and a list
of the photographs that they show, docs/page-photographs.md. The search itself is that of the tests: by the
words of the captions, so no model is needed. Photographs with people in them are left out.
"""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.gateway.page.browser import chromium, opened
from tests.gateway.page.catalogue import Catalogue, Item, serving

QUERIES = (("light", "cat"), ("dark", "street"))
SIZE = {"width": 1280, "height": 720}
PEOPLE = re.compile(
    r"\b(people|persons?|m[ae]n|wom[ae]n|boys?|girls?|kids?|child(ren)?|guys?|lad(y|ies)|family|adults?|crowd|player"
    r"|skate\w*|rider?s?|riding|someone|tourists?|baby|couple|friends|group of|surfer|skier)\b",
    re.IGNORECASE,
)
SHOWN = 480  # pixels: the longer side of a thumbnail
HEAD = """# The photographs in the pictures of the page

The screenshots show these photographs of [COCO](https://cocodataset.org), which their authors published at
Flickr under open licences; each link leads to the photograph and its author. They were scaled down, cropped
by the window, and drawn in fewer colours.

| in | photograph | licence |
|---|---|---|
"""


def items_of(folder: Path, entries: list[dict[str, Any]]) -> list[Item]:
    """The photographs as rows, each with its captions."""
    made = []
    for entry in entries:
        image = Image.open(folder / entry["file"]).convert("RGB")
        image.thumbnail((SHOWN, SHOWN))
        target = io.BytesIO()
        image.save(target, "JPEG", quality=90)
        caption = " ".join(entry["captions"])
        size = {"width": entry["width"], "height": entry["height"]}
        made.append(
            Item(Path(entry["file"]).stem, entry["file"], caption, **size, thumbnail=target.getvalue())
        )
    return made


def main(arguments: list[str]) -> None:
    """Writes the two pictures and the list."""
    photographs, docs = map(Path, arguments)
    entries = json.loads((photographs / "captions.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if not PEOPLE.search(" ".join(entry["captions"]))]
    print(f"{len(entries)} photographs without people")
    sources = {Path(entry["file"]).stem: entry for entry in entries}
    lines = []
    catalogue = Catalogue({"photographs": items_of(photographs, entries)})
    with chromium() as browser, serving(catalogue) as served:
        for scheme, query in QUERIES:
            address = f"{served.address}/ui/?q={query}"
            options: dict[str, Any] = {"color_scheme": scheme, "viewport": SIZE}
            with opened(browser, address, **options) as page:
                page.locator(".tile").first.wait_for()
                page.wait_for_function(
                    "() => [...document.querySelectorAll('.tile img')].every(image => image.matches('.here'))"
                )
                visible = page.locator(".tile").evaluate_all(
                    """tiles => tiles.filter(tile => tile.getBoundingClientRect().top < innerHeight)
                      .map(tile => tile.querySelector("img").src)"""
                )
                name = f"page-{scheme}.png"
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                # 256 colours with dithering: photographs at a third of the bytes.
                palette = picture.quantize(256, kmeans=8)
                picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(docs / name)
                ids = [re.findall(r"/items/([^/]+)/", source)[0] for source in visible]
                lines += [credit(name, sources[each]) for each in ids]
    (docs / "page-photographs.md").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def credit(name: str, entry: dict[str, Any]) -> str:
    """A row of the list: the photograph's page at Flickr, its number in COCO, and its licence."""
    number = re.findall(r"/(\d+)_", entry["flickr_url"])[0]
    coco = Path(entry["file"]).stem.lstrip("0")
    photograph = f"[Flickr {number}](https://www.flickr.com/photo.gne?id={number}), COCO {coco}"
    return f"| {name} | {photograph} | [{entry['license']}]({entry['license_url']}) |"


if __name__ == "__main__":
    main(sys.argv[1:])
