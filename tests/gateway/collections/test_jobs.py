"""Jobs on a collection: begun, followed, cancelled, and told by whichever process is asked."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.keys.file import add
from gateway.collections import job_migrate, jobs, upkeep
from gateway.collections.job_files import JobFiles
from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import (
    BROKEN,
    album,
    call,
    encoded,
    engine,
    ids,
    made,
    picture,
    refused,
    told,
)
from tests.gateway.front import Front
from tests.places import REPOSITORY


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one that may be imported."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def front(places: Path) -> Iterator[Front]:
    """A gateway with a collection."""
    (places / "allowed").mkdir()
    with album(places, content_roots=(str(places / "allowed"),)) as front:
        made(front, "shared")
        yield front


def ended(front: Front, job: Any) -> Any:
    """A job that has been begun, once it has ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = told(call(front, "GET", f"/v1/jobs/{job['id']}"))
        if found["state"] != "running":
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def begun(front: Front, name: str, **body: Any) -> Any:
    """A job that has been begun."""
    return told(call(front, "POST", f"/{name}/jobs", json=body), 202)


def test_duplicates_are_found_by_a_job(front: Front) -> None:
    """Copies and the same picture in another form make a group, of which the best is to be kept."""
    made(front, "doubles")
    items = [
        {"id": "copy", "image": encoded(picture(1))},
        {"id": "large", "image": encoded(picture(1, "JPEG", 256))},
    ]
    told(call(front, "POST", "/doubles/items", json={"items": items}))
    job = begun(front, "doubles", kind="dedup")
    assert (job["kind"], job["collection"], job["state"]) == ("dedup", "doubles", "running")
    done = ended(front, job)
    assert done["state"] == "done", done
    (group,) = done["result"]["groups"]
    assert (group["keep"], group["ids"][0], set(group["ids"])) == (
        "large",
        "large",
        {"large", "copy", "beach"},
    )
    assert done["result"]["rows"] == 5
    listed = told(call(front, "GET", "/v1/jobs"))["jobs"]
    assert listed[0]["id"] == job["id"]
    assert {one["result"] for one in listed} == {None}


def test_a_link_in_a_folder_brings_nothing_from_outside(front: Front, places: Path) -> None:
    """Only what lies below an allowed folder is imported: no file and no folder that is elsewhere."""
    folder, outside = places / "allowed" / "linked", places / "private"
    folder.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(picture(7))
    (folder / "own.png").write_bytes(picture(1))
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "folder").symlink_to(outside)
    (places / "allowed" / "way-out").symlink_to(outside)
    told(call(front, "POST", "", json={"name": "linked"}), 201)
    done = ended(front, begun(front, "linked", kind="import", folder=str(folder)))
    assert (done["state"], done["result"]["total"]) == ("done", 1), done
    (item,) = told(call(front, "GET", "/linked/items"))["items"]
    assert item["source"] == str(folder / "own.png")
    for path in (
        outside,
        folder / "folder",
        places / "allowed" / "way-out",
        f"{places}/allowed/../private",
        "/etc",
    ):
        answer = call(front, "POST", "/linked/jobs", json={"kind": "import", "folder": str(path)})
        refused(answer, 403, "folder_not_allowed")


def test_a_folder_is_imported_and_followed(front: Front, places: Path) -> None:
    """New files are added by the gateway's own model, a bad one is counted, and gone ones leave."""
    folder = places / "allowed" / "photographs"
    folder.mkdir()
    for name, data in {"a": picture(1), "b": picture(3), "broken": BROKEN}.items():
        (folder / f"{name}.png").write_bytes(data)
    told(call(front, "POST", "", json={"name": "imported"}), 201)
    done = ended(front, begun(front, "imported", kind="import", folder=str(folder)))
    assert done["state"] == "done", done
    assert (done["result"]["embedded"], done["result"]["failed"], done["total"]) == (2, 1, 3)
    found = told(call(front, "POST", "/imported/search", json={"query": "city"}))
    assert found["hits"][0]["source"] == str(folder / "b.png")
    assert call(front, "GET", found["hits"][0]["content"]).content == picture(3)
    (folder / "b.png").unlink()
    again = ended(front, begun(front, "imported", kind="import", folder=str(folder)))["result"]
    assert (again["embedded"], again["dropped"]) == (0, 1)


def test_only_an_operator_imports_and_only_what_is_allowed(front: Front, places: Path) -> None:
    """A key that may write cannot make the gateway read its disk, and no key what is not allowed."""
    writer = add(front.keys_file, "writer", scopes=["write"])
    body = {"kind": "import", "folder": str(places / "allowed")}
    refused(call(front, "POST", "/shared/jobs", writer, json=body), 403, "insufficient_scope")
    link = places / "allowed" / "out"
    link.symlink_to(places)
    refused(call(front, "POST", "/shared/jobs", writer, json={"kind": "migrate"}), 403, "insufficient_scope")
    for folder in (places, link, f"{places}/allowed/..", "/etc", f"{places}/allowed-not"):
        answer = call(front, "POST", "/shared/jobs", json={"kind": "import", "folder": str(folder)})
        refused(answer, 403, "folder_not_allowed")
    for wrong in ("photographs", 3, None, "/a\0b", str(places / "allowed" / "none")):
        answer = call(front, "POST", "/shared/jobs", json={"kind": "import", "folder": wrong})
        refused(answer, 400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    [
        *(
            {},
            {"kind": "none"},
            {"kind": 3},
            {"kind": "compact", "now": 1},
            {"kind": "dedup", "kinds": ["x"]},
        ),
        *({"kind": "dedup", "kinds": 3}, {"kind": "dedup", "filter": []}, []),
        *({"kind": "migrate", "to": 2}, {"kind": "migrate", "to": "a b"}, {"kind": "migrate", "from": "1"}),
        *({"kind": "migrate", "allow_missing": 1}, {"kind": "migrate", "min_recall": 2}),
    ],
)
def test_a_wrong_job_is_not_begun(front: Front, body: Any) -> None:
    """It is refused at once, rather than failing later."""
    refused(call(front, "POST", "/shared/jobs", json=body), 400, "malformed_request")


def test_a_collection_is_compacted(front: Front) -> None:
    """Afterwards it is searched as before."""
    assert ended(front, begun(front, "shared", kind="compact"))["state"] == "done"
    assert ids(told(call(front, "POST", "/shared/search", json={"query": "city"})))[0] == "city"
    refused(call(front, "POST", "/none/jobs", json={"kind": "compact"}), 404, "collection_not_found")
    refused(call(front, "GET", "/v1/jobs/0123456789abcdef"), 404, "job_not_found")
    refused(call(front, "DELETE", "/v1/jobs/..%2fa"), 404, "unknown_path")


def test_many_commits_are_put_in_order(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection that grows by single items is compacted without anybody asking."""
    monkeypatch.setattr(upkeep, "COMMITS", 3)
    made(front, "growing")  # the first commit
    for number in range(2):
        items = {"items": [{"id": f"more-{number}", "image": encoded(picture(4))}]}
        told(call(front, "POST", "/growing/items", json=items))
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        jobs_ = told(call(front, "GET", "/v1/jobs"))["jobs"]
        found = [job for job in jobs_ if (job["collection"], job["kind"]) == ("growing", "compact")]
        if found:
            assert ended(front, found[0])["state"] == "done"
            return
        time.sleep(0.1)
    raise AssertionError(jobs_)


def test_a_collection_moves_to_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old version is searched until all is embedded again; an image that is gone stops the switch."""
    monkeypatch.setattr(job_migrate, "DROP_AFTER", 0)
    served = engine(("1.0", "in-memory"), ("2.0", "new"))
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / "sea.png").write_bytes(picture(1))
    with album(tmp_path, served, content_roots=(str(folder),)) as front:
        told(call(front, "POST", "", json={"name": "moving"}), 201)
        assert ended(front, begun(front, "moving", kind="import", folder=str(folder)))["state"] == "done"
        upload = {"file": ("city.png", picture(3), "image/png")}
        told(call(front, "POST", "/moving/items", files=upload))
        loose = {"items": [{"id": "loose", "image": encoded(picture(2))}]}
        told(call(front, "POST", "/moving/items", json=loose))

        options = {"kind": "migrate", "to": "2.0", "min_recall": 0}
        stopped = ended(front, begun(front, "moving", **options))
        assert (stopped["state"], stopped["error"]["code"]) == ("failed", "migration_incomplete")
        assert "1 rows would lose their vectors" in stopped["error"]["message"]
        asked = {"query": "city", "top": 3}
        assert told(call(front, "POST", "/moving/search", json=asked))["space"] == "in-memory"

        moved = ended(front, begun(front, "moving", **options, allow_missing=True))
        assert moved["state"] == "done", moved
        result = moved["result"]
        assert (result["version"], result["space"], result["dropped"]) == ("2.0", "new", True)
        found = told(call(front, "POST", "/moving/search", json=asked))
        assert (found["space"], found["version"], len(found["hits"])) == ("new", "2.0", 2)
        state = told(call(front, "GET", "/moving"))
        assert (state["version"], state["items"], state["failed"]) == ("2.0", 2, 1)
        again = ended(front, begun(front, "moving", **options))
        assert again["error"]["code"] == "already_migrated"
        unknown = ended(front, begun(front, "moving", kind="migrate", to="9.9"))
        assert unknown["error"]["code"] == "model_not_found"


def test_a_job_is_cancelled(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends where it is, reads `cancelled`, and while it runs there is a bound to how many do."""
    go = threading.Event()

    def endless(parameters: Any, roots: Any) -> Any:
        def work(context: Any) -> Any:
            while True:
                context.progress(1, 2)
                go.wait(0.05)

        return work

    monkeypatch.setattr(jobs, "KINDS", {"endless": endless})
    running = [begun(front, "shared", kind="endless") for _ in range(jobs.AT_ONCE)]
    refused(call(front, "POST", "/shared/jobs", json={"kind": "endless"}), 503, "overloaded")
    for job in running:
        assert told(call(front, "DELETE", f"/v1/jobs/{job['id']}"), 202)["id"] == job["id"]
    assert [ended(front, job)["state"] for job in running] == ["cancelled"] * jobs.AT_ONCE


def test_a_failure_of_ours_tells_nothing_of_itself(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that breaks reads `failed`, without what broke."""

    def broken(parameters: Any, roots: Any) -> Any:
        def work(context: Any) -> Any:
            raise RuntimeError("a secret")

        return work

    monkeypatch.setattr(jobs, "KINDS", {"broken": broken})
    found = ended(front, begun(front, "shared", kind="broken"))
    assert (found["state"], found["error"]["code"]) == ("failed", "internal")
    assert "secret" not in str(found)


def test_a_job_whose_process_was_killed_reads_interrupted(tmp_path: Path) -> None:
    """Other processes see a job run, and see that it will not end once its process is gone."""
    program = (
        "import sys, time; from pathlib import Path; from gateway.collections.job_files import JobFiles\n"
        "with JobFiles(Path(sys.argv[1])).running('a', 'dedup') as job:\n"
        "    print(job.id, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        files = JobFiles(tmp_path)
        assert files.read(name).state == "running"
        process.kill()
        process.wait()
    (job,) = files.listed()
    assert (job.state, job.code) == ("failed", "interrupted")
