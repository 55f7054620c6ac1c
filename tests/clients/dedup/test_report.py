"""JSON, CSV and the pages to look at."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from babelclip.dedup import Splits, find_duplicates
from babelclip.dedup import page as pages
from babelclip.dedup.page import write_pages
from babelclip.dedup.report import COLUMNS, groups_json, write_csv
from babelclip.index import Row
from tests.clients.dedup.photographs import encoded, make_index, picture, row, vector

HOSTILE = '/photos/<script>alert(1)</script>"><img src=x onerror=alert(2)>\u202egpj.jpg'


def pairs(count: int) -> list[Row]:
    """Groups of two copies each; the first is called what must not become markup."""
    rows = []
    for n in range(count):
        data = encoded(picture(n))
        name = HOSTILE if n == 0 else f"/photos/{n}.jpg"
        rows += [row(name, data, vector(n), collection="a")]
        rows += [row(f"/copies/{n}.jpg", data, vector(n), collection="b")]
    return rows


class Tags(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_json_and_csv_have_every_row(tmp_path: Path) -> None:
    """Both name the best and the duplicates of each group, with how they match and the splits."""
    splits = Splits(names=("train", "test"), collections={"a": "train", "b": "test"})
    with make_index(tmp_path, pairs(2)) as index:
        found = find_duplicates(index, splits=splits)
    document = json.loads(json.dumps(groups_json(found), allow_nan=False))
    assert (document["rows"], document["duplicates"], document["leaks"]) == (4, 2, 2)
    assert {"split": "train", "in": "test", "rows": 2} in document["leaked_rows"]
    assert {group["best"]["source"] for group in document["groups"]} == {"/copies/0.jpg", "/copies/1.jpg"}
    assert {g["duplicates"][0]["match"]["kind"] for g in document["groups"]} == {"exact"}

    write_csv(found, tmp_path / "groups.csv")
    with (tmp_path / "groups.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(COLUMNS)
    assert [line["role"] for line in lines] == ["best", "duplicate"] * 2
    assert [line["split"] for line in lines] == ["test", "train"] * 2
    assert HOSTILE in {line["source"] for line in lines}


def test_a_page_runs_nothing_and_takes_no_name_for_markup(tmp_path: Path) -> None:
    """Only our own elements stand in it, under a policy without scripts, whatever files are called."""
    with make_index(tmp_path, pairs(1)) as index:
        (path,) = write_pages(index, find_duplicates(index), tmp_path / "page.html")
    parsed = Tags()
    parsed.feed(path.read_text(encoding="utf-8"))
    kinds = {tag for tag, _ in parsed.tags}
    assert kinds <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "p", "section", "h2", "ul", "li", "img"),
        "small",
    }
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    images = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == 2
    assert all((one["src"] or "").startswith("data:image/jpeg;base64,") for one in images)
    assert "<script>alert(1)</script>" in parsed.text
    assert "\u202e" not in parsed.text


def test_many_groups_stand_on_several_pages(tmp_path: Path) -> None:
    """Each page links the others and holds its share of the groups."""
    with make_index(tmp_path, pairs(5)) as index:
        found = find_duplicates(index)
        pages.GROUPS, before = 2, pages.GROUPS
        try:
            written = write_pages(index, found, tmp_path / "page.html")
        finally:
            pages.GROUPS = before
    assert [path.name for path in written] == ["page.html", "page-2.html", "page-3.html"]
    texts = [path.read_text(encoding="utf-8") for path in written]
    assert [len(re.findall("<section>", text)) for text in texts] == [2, 2, 1]
    assert 'href="page-3.html"' in texts[0]
