"""The command line with the committed model, and what is made of its output."""

import json
from pathlib import Path

import httpx
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import handlers.base  # noqa: F401  (so that this process has the repository's and no archive's)
from babelclip.index import open_index
from batch.__main__ import main
from batch.progress import Metrics
from batch.shards import Counts
from tests.batch.support import contents, make_tar, rows
from tests.clients.ingest.pictures import encoded, fill, picture
from tests.shared import mini_store

pytestmark = pytest.mark.slow  # exports, and starts processes


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the committed model."""
    return f"mar:{mini_store(tmp_path_factory)}"


@pytest.fixture(scope="module")
def embedded(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of five pictures, of which one is broken, embedded by two processes."""
    folder = tmp_path_factory.mktemp("embedded")
    for shard in range(2):
        members = {f"{n}.jpg": encoded(picture(10 * shard + n)) for n in range(5)}
        make_tar(folder / f"{shard}.tar", {"0.txt": b"a caption", **members, "4.jpg": b"broken"})
    assert (
        main(["embed", str(folder / "{0..1}.tar"), str(folder / "out"), "--url", store, "--processes", "2"])
        == 0
    )
    return folder


def test_images_by_any_number_of_processes(embedded: Path, store: str, tmp_path: Path) -> None:
    """The archives' own handlers give the same bytes in one process as in two."""
    words = ["embed", str(embedded / "{0..1}.tar"), str(tmp_path / "one"), "--url", store, "--processes", "1"]
    assert main(words) == 0
    assert contents(tmp_path / "one") == contents(embedded / "out")
    found = rows(tmp_path / "one")
    assert [row["error"] for row in found] == ([None] * 4 + ["image_undecodable"]) * 2
    vectors = np.array([row["vector"] for row in found if row["vector"] is not None])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_status_counts_what_is_there(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the outputs' own metadata, and by what the run said last."""
    assert main(["status", str(embedded / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["shards"], found["finished"], found["items"]) == (2, 2, 10)
    assert found["errors"] == {"image_undecodable": 2}
    assert found["run"]["state"] == "finished"


def test_vectors_for_clip_retrieval(embedded: Path, tmp_path: Path) -> None:
    """Arrays of the rows with a vector, and beside each the metadata of the same rows."""
    assert main(["export", str(embedded / "out"), "--npy", str(tmp_path)]) == 0
    arrays = [np.load(path) for path in sorted((tmp_path / "img_emb").iterdir())]
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "metadata").iterdir())]
    assert [array.shape[0] for array in arrays] == [table.num_rows for table in tables] == [4, 4]
    first = rows(embedded / "out")[0]
    assert arrays[0].dtype == np.float32
    assert arrays[0][0].tolist() == first["vector"]
    assert tables[0].to_pylist()[0] == {
        "id": first["id"],
        "image_path": first["source"],
        "caption": "a caption",
    }


def test_an_index_is_loaded_once_however_often(embedded: Path, tmp_path: Path) -> None:
    """Rows go by their ids; those without a vector have their code."""
    pytest.importorskip("lancedb", reason="lancedb is not installed")
    for _ in range(2):
        assert main(["load", str(embedded / "out"), "--index", str(tmp_path / "a.index")]) == 0
    with open_index(tmp_path / "a.index") as index:
        info = index.info()
        assert (info.rows, info.failed) == (8, 2)
        first = rows(embedded / "out")[0]
        (row,) = index.get([first["id"]], columns=("source", "caption", "vector"))
        assert row is not None
        assert (row.source, row.caption) == (first["source"], "a caption")
        assert row.vector is not None
        np.testing.assert_allclose(row.vector, first["vector"])


def test_texts_of_a_table(store: str, tmp_path: Path) -> None:
    """Each has the vector that the client gives it; what the table has beside is kept."""
    texts = ["ein roter Apfel", "赤いりんご", "a red apple", "", "un chat"]
    table = pyarrow.table({"text": texts, "lang": ["de", "ja", "en", "", "fr"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    words = [
        "embed",
        str(tmp_path / "t.parquet"),
        str(tmp_path / "out"),
        "--url",
        store,
        "--modality",
        "text",
    ]
    assert main([*words, "--processes", "1", "--dtype", "float16"]) == 0
    found = rows(tmp_path / "out")
    assert [row["lang"] for row in found] == ["de", "ja", "en", "", "fr"]
    assert [row["error"] for row in found] == [None, None, None, "empty_item", None]
    vectors = np.array([row["vector"] for row in found if row["vector"]], np.float32)
    assert (vectors[0] @ vectors[1]) > (vectors[0] @ vectors[3])


def test_a_dry_run_reckons(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items, bytes, hours and money, with the arithmetic; nothing is written."""
    fill(tmp_path / "in", 12)
    words = ["embed", str(tmp_path / "in"), str(tmp_path / "out"), "--url", store, "--shard-size", "5"]
    assert main([*words, "--dry-run", "--processes", "2", "--price-per-hour", "1.5"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said.splitlines()[-1].removeprefix("result: "))
    assert (found["shards"], found["items"], found["sampled"], found["workers"]) == (3, 12, 12, 2)
    assert found["cost"] == pytest.approx(found["hours"] * 1.5)
    assert "12 / (" in said
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_done_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No stack trace, and a status that says that it could not go on."""
    assert main(["embed", str(tmp_path), str(tmp_path / "out"), "--url", f"mar:{tmp_path}"]) == 3
    assert main(["status", str(tmp_path)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("batch: ") for line in said)
    assert "there is no job in" in said[1]


def test_metrics_are_served_on_loopback() -> None:
    """Prometheus reads rows by code, shards, and failures."""
    metrics = Metrics(0)
    try:
        metrics.shards(9, 2)
        metrics.finished(Counts(5, {"image_undecodable": 1}))
        metrics.failed(again=True)
        assert metrics.address.startswith("http://127.0.0.1:")
        text = httpx.get(metrics.address).text
    finally:
        metrics.close()
    assert 'babelclip_batch_items_total{code="ok"} 4.0' in text
    assert 'babelclip_batch_items_total{code="image_undecodable"} 1.0' in text
    assert "babelclip_batch_shards_finished 3.0" in text
    assert 'babelclip_batch_shard_failures_total{then="retry"} 1.0' in text


def test_outputs_are_named_by_their_shards(embedded: Path) -> None:
    """A folder of Parquet that any reader of data sets takes as one."""
    assert list(contents(embedded / "out")) == ["part-0000000.parquet", "part-0000001.parquet"]
    assert parquet.read_table(embedded / "out" / "vectors").num_rows == 10
