"""Our metrics: declared where TorchServe looks, counted for every transport, a few lines a batch."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import yaml

from handlers.deadline import Deadline
from handlers.embedding_pb2 import EmbedRequest
from handlers.errors import ITEM_CODES, REQUEST_CODES, STATUS
from handlers.metrics import DEFINITIONS, FLAGS, BatchStats, Metrics
from tests.handlers.images import encoded, motif
from tests.handlers.worker import METRICS_YAML, Worker, grpc, http
from tests.places import REPOSITORY

IMAGE = encoded(motif(60, 40), "JPEG")


def lines(caplog: pytest.LogCaptureFixture) -> dict[str, float]:
    """Metric and labels → value, from the lines that TorchServe's frontend would read."""
    found = {}
    for record in caplog.records:
        match = re.match(r"\[METRICS\](babelclip_\w+)\.\w+:([\d.e-]+)\|#([^|]*)\|", record.getMessage())
        if match:
            labels = ",".join(part for part in match[3].split(",") if not part.startswith("version:"))
            found[f"{match[1]}{{{labels}}}"] = float(match[2])
    return found


def test_every_metric_is_declared() -> None:
    """TorchServe's frontend drops undeclared metrics, so the file declares exactly what the code sends."""
    declared = yaml.safe_load(METRICS_YAML.read_text(encoding="utf-8"))["model_metrics"]
    ours = {
        metric["name"]: (kind, metric["unit"], tuple(metric["dimensions"]))
        for kind, metrics in declared.items()
        for metric in metrics
        if metric["name"].startswith("babelclip_")
    }
    sent = {n: (kind, unit, ("tower", "version", *labels)) for n, (kind, unit, labels) in DEFINITIONS.items()}
    assert ours == sent


def test_a_batch_is_counted_once(text: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """One line a batch for each metric and label, over gRPC as over HTTP, items by their code."""
    first, second = (
        EmbedRequest(texts=[b"a" + end, b"a red heart" + end, b"", b"\xff"]).SerializeToString()
        for end in (b"", b" ")  # the same twice would be one
    )
    with caplog.at_level(logging.INFO):
        text.send(grpc(request=first), grpc(request=second), http(b"a  ", "text/plain"), http(b"a", "a/b"))
    found = lines(caplog)
    found.pop("babelclip_shapes{tower:text}", None)  # Only where no test before met these shapes.
    seconds = {name: found.pop(name) for name in list(found) if "stage_seconds" in name}
    assert found == {
        "babelclip_requests_total{tower:text,transport:grpc,code:ok}": 2,
        "babelclip_requests_total{tower:text,transport:http,code:ok}": 1,
        "babelclip_requests_total{tower:text,transport:http,code:unsupported_media_type}": 1,
        "babelclip_items_total{tower:text,code:ok}": 5,
        "babelclip_items_total{tower:text,code:empty_item}": 2,
        "babelclip_items_total{tower:text,code:invalid_utf8}": 2,
        # Three texts of 3 tokens are padded to 4, the shortest length there is; two of 5 have their own pass.
        "babelclip_slots_total{tower:text,use:content}": 19,
        "babelclip_slots_total{tower:text,use:padding}": 3,
        "babelclip_rows_total{tower:text,use:item}": 5,
        "babelclip_rows_total{tower:text,use:free}": 3,
        "babelclip_passes_total{tower:text,bucket:4}": 1,
        "babelclip_passes_total{tower:text,bucket:8}": 1,
        "babelclip_batch_items{tower:text}": 9,
    }
    stages = ("idle", "parse", "decode", "forward", "encode")
    assert sorted(seconds) == sorted(f"babelclip_stage_seconds{{tower:text,stage:{s}}}" for s in stages)


def test_every_outcome_counts_from_the_start(text: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """The first failure of a kind is an increase, because its series stood at 0; a start is counted."""
    with caplog.at_level(logging.INFO):
        text.handler.initialize(text.service.context)
    found = lines(caplog)
    assert found.pop("babelclip_worker_starts_total{tower:text}") == 1
    del found[next(name for name in found if name.startswith("babelclip_info"))]
    expected = {f"babelclip_items_total{{tower:text,code:{code}}}" for code in ("ok", *ITEM_CODES)}
    expected |= {f"babelclip_flagged_items_total{{tower:text,flag:{flag}}}" for flag in FLAGS}
    for transport in ("grpc", "http"):
        expected |= {
            f"babelclip_requests_total{{tower:text,transport:{transport},code:{code}}}"
            for code in ("ok", *REQUEST_CODES)
        }
    assert found == dict.fromkeys(expected, 0)


def test_a_worker_that_cannot_be_loaded_has_been_counted(
    text: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """TorchServe starts it again and again, and only the starts show it."""
    context = text.service.context
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(context.system_properties, "model_dir", str(tmp_path))
        with caplog.at_level(logging.INFO), pytest.raises((OSError, ValueError)):
            type(text.handler)().initialize(context)
    assert lines(caplog)["babelclip_worker_starts_total{tower:text}"] == 1


def test_the_codes_are_those_of_the_documentation() -> None:
    """docs/errors.md lists what a tower counts, for items and for requests."""
    page = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    for heading, codes in (("Item codes", ITEM_CODES), ("Request codes", REQUEST_CODES)):
        table = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        listed = set(re.findall(r"^\| `(\w+)` \| \d+ \|", table, re.MULTILINE))
        assert listed | {"internal"} == set(codes)
    assert set(STATUS) == {*ITEM_CODES, *REQUEST_CODES}


def test_what_answers_say_of_items_is_counted(text: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """An operator sees how many texts were cut, and how many the model can not read."""
    asked = [b"red " * 20, "𓀀".encode(), "𓀀 ".encode() * 20, b"a", b""]
    with caplog.at_level(logging.INFO):
        text.send(grpc(request=EmbedRequest(texts=asked).SerializeToString()))
    found = {name: value for name, value in lines(caplog).items() if "flagged" in name}
    assert found == {
        "babelclip_flagged_items_total{tower:text,flag:truncated}": 2,
        "babelclip_flagged_items_total{tower:text,flag:unknown}": 2,
    }


def stage_seconds(caplog: pytest.LogCaptureFixture) -> dict[str, float]:
    """Stage → seconds of the latest batch."""
    found = lines(caplog)
    return {m[1]: value for name, value in found.items() if (m := re.search("stage:(\\w+)}", name))}


def test_the_stages_fill_the_time_of_a_worker(
    vision: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the end of one batch to the end of the next no time is left out or counted twice."""
    times = iter(range(10_000))

    def clock() -> float:
        return float(next(times))  # Each look at the clock costs a second, wherever it is taken.

    monkeypatch.setattr(vision.handler, "clock", clock)
    monkeypatch.setattr(vision.handler, "deadline", Deadline(1e6, clock))
    monkeypatch.setattr(vision.handler, "_ended", None)
    request = grpc(request=EmbedRequest(images=[IMAGE] * 9).SerializeToString())
    vision.send(request)
    ended = vision.handler._ended
    assert ended is not None
    next(times), next(times)
    with caplog.at_level(logging.INFO):
        vision.send(request)
    seconds = stage_seconds(caplog)
    assert seconds["idle"] == 3
    assert all(value >= 1 for value in seconds.values())
    ended_again = vision.handler._ended
    assert ended_again is not None
    assert sum(seconds.values()) == ended_again - ended


def test_a_request_is_told_its_stages_if_it_asks(text: Worker) -> None:
    """A trace shows what the worker did; who does not ask gets the same bytes as ever."""
    asked, silent = (EmbedRequest(texts=[b"a red heart"], stages=stages) for stages in (True, False))
    first, second = text.send(
        *(http(one.SerializeToString(), "application/x-protobuf") for one in (asked, silent))
    )
    stages = {stage.name: stage.seconds for stage in first.message.stages}
    assert list(stages) == ["parse", "decode", "forward"]
    assert all(seconds >= 0 for seconds in stages.values())
    assert stages["forward"] > 0
    assert not second.message.stages
    assert first.message.vectors == second.message.vectors


def test_work_of_the_decoding_threads_is_counted(vision: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """Decoding that a pass hides from the stages is still seen, and how full the passes were."""
    with caplog.at_level(logging.INFO):
        vision.send(grpc(request=EmbedRequest(images=[IMAGE] * 7).SerializeToString()))
    found = lines(caplog)
    assert found.pop("babelclip_decode_cpu_seconds_total{tower:vision}") > 0
    assert {name: value for name, value in found.items() if "passes" in name or "rows" in name} == {
        "babelclip_passes_total{tower:vision,bucket:4}": 2,
        "babelclip_rows_total{tower:vision,use:item}": 7,
        "babelclip_rows_total{tower:vision,use:free}": 1,
    }


def test_a_batch_costs_few_lines(text: Worker, vision: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """TorchServe parses each line, so their number must not grow with the items of a batch."""
    for worker, request in ((text, EmbedRequest(texts=[b"a"])), (vision, EmbedRequest(images=[IMAGE]))):
        counts = []
        for times in (1, 15):
            caplog.clear()
            many = EmbedRequest(texts=list(request.texts) * times, images=list(request.images) * times)
            with caplog.at_level(logging.INFO):
                worker.send(grpc(request=many.SerializeToString()))
            counts.append(len(lines(caplog)))
        assert max(counts) <= 15
        assert counts[1] <= counts[0] + 1  # A pass that is not full has a bucket of its own.


def test_shapes_are_told_when_one_is_new(text: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """The gauge says how many shapes a worker has met, in a line only when that has changed."""
    name = "babelclip_shapes{tower:text}"
    text.handler._shapes.discard((1, 5))
    before = len(text.handler._shapes)
    told = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            text.send(grpc(request=EmbedRequest(texts=[b"a red heart"]).SerializeToString()))
        told.append(lines(caplog).get(name))
    assert told == [before + 1, None]


def test_the_space_is_a_label(caplog: pytest.LogCaptureFixture, text: Worker) -> None:
    """The gauge babelclip_info names what is served, without the colon that TorchServe would split at."""
    with caplog.at_level(logging.INFO):
        metrics = Metrics(text.service.context.metrics, tower="text", version="1.0")
        metrics.info(space="0123", device="cuda:1", dtype="bfloat16", runtime="torch")
    assert lines(caplog) == {
        "babelclip_info{tower:text,space:0123,device:cuda_1,dtype:bfloat16,runtime:torch}": 1
    }


def test_metrics_never_fail_a_batch(caplog: pytest.LogCaptureFixture, text: Worker) -> None:
    """Without TorchServe's metrics, or with broken ones, a batch is served all the same."""
    Metrics(None, tower="text", version="1.0").record(BatchStats())
    metrics = Metrics(text.service.context.metrics, tower="text", version="1.0")
    metrics._metrics["babelclip_batch_items"] = object()
    metrics.record(BatchStats())
    assert "metrics were not recorded: AttributeError" in caplog.text
