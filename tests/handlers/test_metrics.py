"""Our metrics: declared where TorchServe looks, counted for every transport, a few lines a batch."""

from __future__ import annotations

import logging
import re

import pytest
import yaml

from handlers.embedding_pb2 import EmbedRequest
from handlers.metrics import DEFINITIONS, Metrics, Tally
from tests.handlers.worker import METRICS_YAML, Worker, grpc, http


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
    request = EmbedRequest(texts=[b"a", b"a red heart", b"", b"\xff"]).SerializeToString()
    with caplog.at_level(logging.INFO):
        text.send(grpc(request=request), grpc(request=request), http(b"a", "text/plain"), http(b"a", "a/b"))
    found = lines(caplog)
    seconds = {name: found.pop(name) for name in list(found) if "stage_seconds" in name}
    assert found == {
        "babelclip_requests_total{tower:text,transport:grpc,code:ok}": 2,
        "babelclip_requests_total{tower:text,transport:http,code:ok}": 1,
        "babelclip_requests_total{tower:text,transport:http,code:unsupported_media_type}": 1,
        "babelclip_items_total{tower:text,code:ok}": 5,
        "babelclip_items_total{tower:text,code:empty_item}": 2,
        "babelclip_items_total{tower:text,code:invalid_utf8}": 2,
        # Three texts of 3 tokens and two of 5 ride together, in two passes of 4 and 1, padded to 8.
        "babelclip_slots_total{tower:text,use:content}": 19,
        "babelclip_slots_total{tower:text,use:padding}": 21,
        "babelclip_batch_items{tower:text}": 9,
    }
    stages = [f"babelclip_stage_seconds{{tower:text,stage:{s}}}" for s in ("decode", "forward", "encode")]
    assert sorted(seconds) == sorted(stages)
    assert all(0 <= value < 60 for value in seconds.values())


def test_the_space_is_a_label(caplog: pytest.LogCaptureFixture, text: Worker) -> None:
    """The gauge babelclip_info names what is served, without the colon that TorchServe would split at."""
    with caplog.at_level(logging.INFO):
        metrics = Metrics(text.service.context.metrics, tower="text", version="1.0")
        metrics.info(space="0123", device="cuda:1", dtype="bfloat16")
    assert lines(caplog) == {"babelclip_info{tower:text,space:0123,device:cuda_1,dtype:bfloat16}": 1}


def test_metrics_never_fail_a_batch(caplog: pytest.LogCaptureFixture, text: Worker) -> None:
    """Without TorchServe's metrics, or with broken ones, a batch is served all the same."""
    Metrics(None, tower="text", version="1.0").record(Tally())
    metrics = Metrics(text.service.context.metrics, tower="text", version="1.0")
    metrics._metrics["babelclip_batch_items"] = object()
    metrics.record(Tally())
    assert "metrics were not recorded: AttributeError" in caplog.text
