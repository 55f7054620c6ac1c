"""How many workers a server starts: what the cores keep busy, and never more than the memory holds."""

import zipfile
from pathlib import Path

import pytest
import server
from hypothesis import given
from hypothesis import strategies as st

from babelclip.model_store.manifest import read_manifest
from serving import workers
from serving.workers import GB, Needs, choose, heap_bytes, needs
from tests.clients.operated import make_store

SMALL = Needs(front_end=GB, workers=GB)
HEAP = {"vmargs": "-Xmx1g -XX:+UseSerialGC"}


@pytest.mark.parametrize(
    ("cores", "memory", "count"),
    [
        (1, 9, 1),
        (2, 9, 1),
        (15, 9, 1),
        (16, 9, 2),
        (64, 9, 8),
        (64, 8.9, 7),
        (64, 3, 2),
        (64, 2, 1),
        # Without a worker there is no server; the sentence says what may come.
        (64, 0.5, 1),
    ],
)
def test_the_default_is_what_cores_and_memory_allow(cores: int, memory: float, count: int) -> None:
    """One worker for every eight cores, as far as they fit, and at least one."""
    found, sentence = choose(0, cores=cores, memory=int(memory * GB), needed=SMALL)
    assert found == count
    assert bool(sentence) == (count < cores // 8 or memory < 2)


def test_a_number_of_workers_below_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It is wrong usage, said before anything starts."""
    with pytest.raises(SystemExit) as ended:
        server.parse_options(["--workers", "-1"])
    assert ended.value.code == 2
    assert "--workers: a number of processes" in capsys.readouterr().err


def test_what_does_not_fit_is_said_in_a_sentence() -> None:
    """An operator's own number is taken as it is; if it does not fit, how much and what to do is said."""
    assert choose(4, cores=2, memory=5 * GB, needed=SMALL) == (4, "")
    count, sentence = choose(8, cores=64, memory=4 * GB, needed=SMALL)
    assert count == 8
    assert "8 workers a tower may need 9.0 GB of memory and 4.0 GB can be had" in sentence
    assert "--workers 3" in sentence
    _, sentence = choose(1, cores=64, memory=GB, needed=SMALL)
    assert "one worker a tower may need 2.0 GB of memory and 1.0 GB can be had" in sentence
    assert "lower -Xmx" in sentence
    _, sentence = choose(0, cores=64, memory=4 * GB, needed=SMALL)
    assert sentence == "3 workers a tower, which is what 4.0 GB of memory hold; the 64 cores would take 8"


@given(
    st.integers(0, 500),
    st.integers(1, 500),
    st.integers(0, 10**13),
    st.builds(Needs, st.integers(0, 10**11), st.integers(0, 10**11)),
)
def test_no_default_takes_more_than_there_is(asked: int, cores: int, memory: int, needed: Needs) -> None:
    """Above one worker, the default always fits; where a number does not, something is said."""
    count, sentence = choose(asked, cores=cores, memory=memory, needed=needed)
    assert count == asked or asked == 0
    fits = needed.front_end + count * needed.workers <= memory
    assert count >= 1
    assert fits or count == 1 or asked
    assert fits or sentence


def test_a_worker_needs_what_its_archive_holds(tmp_path: Path) -> None:
    """The largest form of the program counts, its weights beside it, and a tokenizer many times over."""
    text, vision = tmp_path / "text.mar", tmp_path / "vision.mar"
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("program.onnx", bytes(1000))
        archive.writestr("program.onnx.data", bytes(9000))
        archive.writestr("program.pt2", bytes(7000))
        archive.writestr("tokenizer.json", bytes(100))
        archive.writestr("handlers/program.py", bytes(5000))
    vision.write_bytes(b"no archive")
    found = needs([("text", text), ("vision", vision)], HEAP, 8 * GB)
    processes = workers.PROCESS["text"] + workers.PROCESS["vision"]
    assert found.workers == processes + 2 * 10_000 + 30 * 100
    assert found.front_end == (1 << 30) + workers.FRONT_END


@pytest.mark.parametrize(
    ("vmargs", "heap"),
    [
        ("-Xmx1g -XX:+UseSerialGC", 1 << 30),
        ("-server -Xmx512M", 512 << 20),
        ("-Xmx1g -Xmx2048k", 2 << 20),
        ("-Xmx4096", 4096),
        ("", None),
        ("-Xmx", None),
        ("-Xmxg -DXmx1g -Xmx1gb", None),
    ],
)
def test_the_heap_is_read_as_java_reads_it(vmargs: str, heap: int | None) -> None:
    """The last -Xmx holds, with its unit."""
    assert heap_bytes(vmargs) == heap


def test_without_a_heap_java_takes_a_quarter() -> None:
    """What Java takes where it is not told counts too."""
    assert needs([], {}, 8 * GB).front_end == 2 * GB + workers.FRONT_END


def test_a_container_of_two_cores_gets_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher counts what handlers.runtime.machine counts, for all spaces of the store."""
    entry = read_manifest(make_store(tmp_path / "store", "1.0")).default
    told: list[str] = []
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    monkeypatch.setattr(workers, "usable_memory", lambda: 64 * GB)
    assert workers.count_workers(0, tmp_path / "store", [entry], HEAP, say=told.append) == 1
    assert not told
    monkeypatch.setattr(workers, "usable_cores", lambda: 64)
    assert workers.count_workers(0, tmp_path / "store", [entry], HEAP, say=told.append) == 8
    # Two spaces take twice the memory.
    monkeypatch.setattr(workers, "usable_memory", lambda: 3 * GB)
    one = workers.count_workers(0, tmp_path / "store", [entry], HEAP, say=told.append)
    assert (one, workers.count_workers(0, tmp_path / "store", [entry, entry], HEAP, say=told.append)) == (
        2,
        1,
    )
    assert len(told) == 2
    assert all(sentence.startswith("serve: ") for sentence in told)
