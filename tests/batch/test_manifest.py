"""The manifest: written once, and what a job may go on with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch import manifest
from batch.inputs.places import Places
from batch.job import Job, JobError
from batch.storage.local import LocalStorage
from tests.batch.support import image_job, make_shards


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """The job and its shards are the same for every later run, also with paths that are no text."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "caf\udce9.jpg").touch()
    make_shards(tmp_path / "shards", 2)
    job = image_job(folder, tmp_path / "shards", dtype="float16", threads=2)
    written = manifest.write(LocalStorage(tmp_path), job, Places())
    found = manifest.read(LocalStorage(tmp_path))
    assert found == written
    assert found is not None
    assert found.job == job
    assert [one.number for one in found.shards()] == [0, 1, 2]
    assert (tmp_path / manifest.LISTING).stat().st_size > 0


def test_an_input_that_cannot_be_cut_leaves_nothing(tmp_path: Path) -> None:
    """The next run begins anew, with whatever input it is given."""
    with pytest.raises(ValueError, match="nothing to embed"):
        manifest.write(
            LocalStorage(tmp_path), image_job(*make_shards(tmp_path / "in", 1), tmp_path / "*.tar"), Places()
        )
    assert manifest.read(LocalStorage(tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_manifest_is_written_once(tmp_path: Path) -> None:
    """Of two jobs that begin at once the second one is refused, and the first one's shards stay."""
    storage = LocalStorage(tmp_path / "out")
    first = manifest.write(storage, image_job(*make_shards(tmp_path / "in", 2)), Places())
    with pytest.raises(FileExistsError, match="is there already"):
        manifest.write(storage, image_job(*make_shards(tmp_path / "other", 1)), Places())
    assert manifest.read(storage) == first


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": "other"}, "the space in-memory .version 1.0., and this model is of other"),
        ({"archive": "f" * 64}, "the archive 000000000000 .* the archive ffffffffffff"),
        ({"archive": ""}, "this is the served model"),
    ],
)
def test_another_model_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Vectors of two models never stand in one output: the error says which and what may be done."""
    job = image_job("a.tar")
    other = replace(job, identity=replace(job.identity, **change))
    with pytest.raises(JobError, match=said + ".*embed into another folder"):
        manifest.check_same(manifest.Manifest(LocalStorage(tmp_path), job, 1), other)


def test_another_input_or_setting_is_refused(tmp_path: Path) -> None:
    """All that rows depend on is as the job was begun."""
    job = image_job("a.tar")
    made = manifest.Manifest(LocalStorage(tmp_path), job, 1)
    manifest.check_same(made, job)
    for change in ({"inputs": ("b.tar",)}, {"batch": 3}, {"dtype": "float16"}, {"threads": 4}):
        with pytest.raises(JobError, match="was begun with " + next(iter(change))):
            manifest.check_same(made, replace(job, **change))


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    """And one that is none."""
    for text in ("", "{}\n", '{"format": 1}\n', "[]\n", "no json\n"):
        (tmp_path / manifest.MANIFEST).write_text(text, encoding="utf-8")
        with pytest.raises(JobError, match="cannot be read"):
            manifest.read(LocalStorage(tmp_path))


@pytest.mark.parametrize("change", [{"dtype": "int8"}, {"batch": 0}, {"modality": "sound"}])
def test_settings_that_cannot_be(change: dict[str, object]) -> None:
    """A job says at once what is allowed."""
    with pytest.raises(ValueError, match=r"not"):
        Job(**{"modality": "image", "inputs": (), "identity": image_job().identity, **change})  # type: ignore[arg-type]
