"""Searches of an index by the model itself, and the commands of their guide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip import Client, SearchCalibration, Searcher, Term
from babelclip.index import Row, Settings, create_index, row_id
from babelclip.search.measure import calibrate_index
from tests.guides import blocks, run_block
from tests.places import REPOSITORY, SAMPLES

DOG = SAMPLES / "1f415.png"


def test_the_guide_works_from_top_to_bottom(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a reader from commands that were true once; each block goes on with what one made."""
    here = {".run/": f"{tmp_path}/", "mar:model_store": f"mar:{store}"}
    said = []
    for language, code in blocks("search.md"):
        for written, actual in here.items():
            code = code.replace(written, actual)
        said.append(run_block(language, code, REPOSITORY, monkeypatch))
    made, searched, found, classified = said
    assert "rows=" in made
    assert "nothing fits 'quarterly tax report'" in searched
    assert "1f436.png" in searched
    assert "training/recipes/mini/samples/" in found
    assert "pizza" in classified


@pytest.fixture(scope="module")
def searcher(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """The samples of the default model, with their English names as captions."""
    names = json.loads((SAMPLES / "captions.json").read_bytes())["names"]["en"]
    files = {SAMPLES / ("-".join(f"{ord(c):x}" for c in e) + ".png"): name for e, name in names.items()}
    with Client(f"mar:{store}") as client:
        found = client.embed_images(files)
        rows = [
            Row(id=row_id(file.name), source=file.name, vector=vector, caption=files[file])
            for file, vector in zip(files, found.vectors, strict=True)
        ]
        settings = Settings(space=found.space, dim=found.dim, version=found.version)
        with create_index(tmp_path_factory.mktemp("search") / "index", settings) as index:
            index.upsert(rows, space=found.space)
            texts = calibrate_index(index, client)
            # Without thumbnails there is no curve for images: the texts' does for a test.
            yield Searcher(index, client, SearchCalibration(texts.space, texts.text, texts.text))


@pytest.mark.parametrize(
    ("query", "file"),
    [
        ("dog face", "1f436.png"),
        ("Hundegesicht", "1f436.png"),
        ("pizza", "1f355.png"),
        ("пицца", "1f355.png"),
        ("ขนมปัง", "1f35e.png"),
        ("バナナ", "1f34c.png"),
        ("bisiklet", "1f6b2.png"),
        ("موز", "1f34c.png"),
    ],
)
def test_a_text_in_any_language_finds_its_drawing(searcher: Searcher, query: str, file: str) -> None:
    """What a text names comes first, and is likelier to fit than not."""
    found = searcher.search(query, top=1)
    assert [hit.row.source for hit in found.hits] == [file]
    assert found.hits[0].probability is not None
    assert found.hits[0].probability > 0.5


@pytest.mark.parametrize("query", ["quarterly tax report", "linear algebra", "insurance policy"])
def test_what_no_drawing_shows_has_no_hits(searcher: Searcher, query: str) -> None:
    """A query without an answer gets none instead of the least bad drawings."""
    found = searcher.search(query)
    assert (found.hits, found.fits) == ((), False)


def test_what_is_subtracted_goes_down(searcher: Searcher) -> None:
    """What should not be there falls in the ranking, and something else comes first."""
    plain = [hit.row.caption for hit in searcher.search("flower", threshold=None).hits]
    without = [hit.row.caption for hit in searcher.search("flower -tulip", threshold=None).hits]
    assert plain[0] == "tulip"
    assert without[0] != "tulip"


def test_an_image_finds_itself_and_its_like(searcher: Searcher) -> None:
    """An image is a query as a text is, and a row's like are other rows."""
    (first,) = searcher.search([Term(image=DOG)], top=1).hits
    assert first.row.source == DOG.name
    alike = searcher.similar(first.row.id, top=5, threshold=None).hits
    assert first.row.id not in [hit.row.id for hit in alike]
