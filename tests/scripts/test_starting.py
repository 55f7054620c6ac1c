"""Workers that end while they start, as TorchServe's log tells of them."""

from pathlib import Path

import pytest

from serving.starting import StartingWorkers, WorkerLost

TIME = "2026-01-02T03:04:05,678"
STREAMS = ("stdout", "stderr")
END = "WorkerThread - Retry worker: 9000 in 1 seconds."


def closed(worker: str) -> list[str]:
    """What stands in the log when both streams of a worker's process have been read to their end."""
    return [f"INFO  {worker}-{name} WorkerLifeCycle - Stopped Scanner - {worker}-{name}" for name in STREAMS]


def add(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.writelines(f"{TIME} {line}\n" for line in lines)


def test_the_second_end_of_a_worker_is_the_end(tmp_path: Path) -> None:
    """It is told with what that worker printed, and with nothing of the others."""
    log = tmp_path / "torchserve.log"
    workers = StartingWorkers(log)
    workers.check()
    add(log, "INFO  W-9001-vision_1.0 " + END, f"INFO  W-9000-text_2.0 beta {END}")
    add(log, *closed("W-9001-vision_1.0"), *closed("W-9000-text_2.0 beta"))
    add(log, "WARN  W-9000-text_2.0 beta-stderr MODEL_LOG - no such file")
    add(log, "INFO  W-9001-vision_1.0-stdout MODEL_LOG - loading - now")
    workers.check()
    add(log, f"INFO  W-9000-text_2.0 beta {END}", *closed("W-9000-text_2.0 beta"))
    with pytest.raises(WorkerLost) as told:
        workers.check()
    assert "text 2.0 beta cannot be loaded" in str(told.value)
    assert "no such file" in str(told.value)
    assert str(log) in str(told.value)
    assert "loading" not in str(told.value)


def test_the_last_words_are_waited_for(tmp_path: Path) -> None:
    """The line that says why may be written after the line of the end; it is in the message all the same."""
    log = tmp_path / "torchserve.log"
    workers = StartingWorkers(log)
    add(log, f"INFO  W-9000-text_1.0 {END}", *closed("W-9000-text_1.0"))
    first, second = closed("W-9000-text_1.0")
    add(log, f"INFO  W-9000-text_1.0 {END}", first)
    workers.check()
    add(log, "INFO  W-9000-text_1.0-stderr MODEL_LOG - ValueError: meta.json is missing")
    workers.check()
    add(log, second)
    with pytest.raises(WorkerLost, match="ValueError: meta"):
        workers.check()


def test_words_that_were_not_read_are_waited_for(tmp_path: Path) -> None:
    """Where TorchServe has read nothing of a failure, the next start tells it, as long as there is hope."""
    log = tmp_path / "torchserve.log"
    workers = StartingWorkers(log)
    begins = "INFO  W-9000-text_1.0-stdout MODEL_LOG - model_name: text, batchSize: 64"
    unread = [begins, f"INFO  W-9000-text_1.0 {END}", *closed("W-9000-text_1.0")]
    add(log, *unread * 2)
    workers.check()
    add(log, begins, "INFO  W-9000-text_1.0-stdout MODEL_LOG - ValueError: meta.json is missing", *unread[1:])
    with pytest.raises(WorkerLost, match="ValueError: meta"):
        workers.check()
    never = StartingWorkers(log)
    add(log, *unread * 5)
    with pytest.raises(WorkerLost, match="ended 5 times"):
        never.check()


def test_a_stream_that_stays_open_hides_nothing(tmp_path: Path) -> None:
    """A worker whose child keeps its output open is told at its third end."""
    log = tmp_path / "torchserve.log"
    workers = StartingWorkers(log)
    add(log, *[f"INFO  W-9000-text_1.0 {END}"] * 2)
    workers.check()
    add(log, f"INFO  W-9000-text_1.0 {END}")
    with pytest.raises(WorkerLost, match="ended 3 times"):
        workers.check()


def test_what_an_earlier_run_wrote_does_not_count(tmp_path: Path) -> None:
    """Only what is added counts, and also what stands in a log that has begun anew."""
    log = tmp_path / "torchserve.log"
    one = [f"INFO  W-9000-text_1.0 {END}", *closed("W-9000-text_1.0")]
    add(log, *one * 3)
    workers = StartingWorkers(log)
    add(log, *one)
    workers.check()
    log.unlink()
    add(log, *one)
    with pytest.raises(WorkerLost):
        workers.check()


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """The log is read while it is written; lines of another form, and bytes that are no text, are passed."""
    log = tmp_path / "torchserve.log"
    workers = StartingWorkers(log)
    add(log, f"INFO  W-9000-text_1.0 {END}", "a stack trace", *closed("W-9000-text_1.0") * 2)
    with log.open("ab") as file:
        file.write(f"\xff\n{TIME} INFO  W-9000-text_1.0 Worker".encode("latin-1"))
    workers.check()
    with log.open("a") as file:
        file.write("Thread - Retry worker: 9000 in 1 seconds.\n")
    with pytest.raises(WorkerLost):
        workers.check()
