import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import results
from training.evaluation.errors import EvaluationError
from training.evaluation.results import Result


def result(language: str = "en", **metrics: float) -> Result:
    return Result("xtd", "mini", "folder", "zeroshot_retrieval", metrics, language, {}, "0123", {"images": 3})


@pytest.mark.parametrize(
    ("name", "languages", "files"),
    [
        ("r.json", ["de"], ["r.json"]),
        ("r.json", ["de", "ja"], ["r_de.json", "r_ja.json"]),
        ("{language}-r.json", ["de"], ["de-r.json"]),
    ],
)
def test_what_is_written_is_found_again(
    tmp_path: Path, name: str, languages: list[str], files: list[str]
) -> None:
    """Protects the names of result files: one result each, found by the name that was given."""
    written = results.write(tmp_path / name, [result(code, acc1=0.5) for code in languages])
    assert [path.name for path in written] == files
    assert [found.language for found in results.read_earlier(tmp_path / name)] == languages
    assert [found.metrics for found in results.read_earlier(tmp_path)] == [{"acc1": 0.5}] * len(languages)


def test_clip_benchmarks_own_files_are_read(tmp_path: Path) -> None:
    """Protects comparing with what CLIP_benchmark wrote: its data set's name, its codes, its NaN."""
    raw = {
        "dataset": "wds/xtd",
        "model": "m",
        "pretrained": "p",
        "task": "zeroshot_retrieval",
        "language": "jp",
    }
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**raw, "metrics": {"acc1": 0.5, "acc5": float("nan")}}), encoding="utf-8")
    found = results.read(path)
    assert found.metrics == {"acc1": 0.5}
    assert results.drops([result("ja", acc1=0.5)], [found], 0.0) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "is no result: it has no dataset"),
        ('{"dataset": "x", "model": "m"}', "it has no pretrained, task, metrics, language"),
        (
            json.dumps({**dict.fromkeys(results.REQUIRED, ""), "metrics": {"acc1": "high"}}),
            "metrics must be names and numbers",
        ),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Protects the gate from passing because its baseline says nothing."""
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=message):
        results.read_earlier(tmp_path / "r.json")
    with pytest.raises(EvaluationError, match="there is no earlier result"):
        results.read_earlier(tmp_path / "other.json")


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_the_gate_closes_exactly_beyond_the_allowed_drop(was: int, now: int, allowed: int) -> None:
    """Protects the gate's bound: as much as is allowed passes, more does not."""
    found = results.drops([result(acc1=now / 1000)], [result(acc1=was / 1000)], allowed / 1000)
    assert bool(found) == (was - now > allowed)


def test_the_gate_names_what_dropped() -> None:
    """Protects the sentence a release fails with, also where a metric or a language is gone."""
    now, before = (
        [result("de", r1=0.4, r5=0.9)],
        [result("de", r1=0.5, r5=0.9, r10=1.0), result("en", r1=1.0)],
    )
    assert results.drops(now, before, 0.01) == [
        "xtd, de: r1 fell from 0.5000 to 0.4000, by 0.1000; 0.0100 is allowed",
        "xtd, de: r10 was 1.0000 and was not measured now",
    ]
    with pytest.raises(EvaluationError, match="the baseline has no zeroshot_retrieval of xtd, fr"):
        results.drops([result("fr", r1=0.4)], before, 0.01)
