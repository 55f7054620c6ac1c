"""The real clip-benchmark evaluates the committed checkpoint and must find what this project's command finds.

It is installed over this environment into one of its own, with an older numpy: its accuracy needs one before
2.4. `requests` is what it imports without declaring it.
"""

import csv
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from models import checkpoint
from tests.places import MINI, REPOSITORY
from training.evaluation import clip_benchmark_plugin, results, tasks
from training.evaluation.caption_files import open_retrieval
from training.evaluation.datasets import WebDataset
from training.evaluation.embedding import LoadedModel
from training.evaluation.results import Result

pytestmark = pytest.mark.slow  # installs packages

PACKAGES = ("clip-benchmark==1.6.2", "requests", "numpy<2.4")
# All of them in one process: its imports take longer than its work.
EVERY_COMMAND = """
import json, sys
from training.evaluation import clip_benchmark_plugin
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    clip_benchmark_plugin.main()
"""


def run(*command: str | Path) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that sees clip-benchmark, and beneath it the packages of this environment."""
    folder = tmp_path_factory.mktemp("clip-benchmark")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # torch may stand elsewhere, where a container brought it.
    beneath = dict.fromkeys((sysconfig.get_path("purelib"), str(Path(torch.__file__).parents[1])))
    (site / "beneath.pth").write_text("\n".join(beneath) + "\n", encoding="utf-8")
    interpreter = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", interpreter, "install", "-qq", "--no-compile", *PACKAGES)
    return interpreter


@pytest.fixture(scope="module")
def mini() -> LoadedModel:
    return LoadedModel(checkpoint.load(MINI), "mini", torch.device("cpu"))


@pytest.fixture(scope="module")
def ours(mini: LoadedModel, retrieval_folder: Path, classification_folder: Path) -> dict[str, Result]:
    """What this project finds, by task."""
    found = [
        *tasks.retrieval(mini, open_retrieval(retrieval_folder), ["en"]),
        *tasks.classification(mini, WebDataset(classification_folder), ["en"]),
    ]
    return {result.task: result for result in found}


@pytest.fixture(scope="module")
def theirs(
    python: Path,
    ours: dict[str, Result],
    retrieval_folder: Path,
    classification_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of what CLIP_benchmark finds, TASK.json, and its table of both its results and ours."""
    work = tmp_path_factory.mktemp("results")
    for task, result in ours.items():
        results.write(work / f"ours-{task}.json", [result])
    commands = []
    folders = {tasks.RETRIEVAL: retrieval_folder, tasks.CLASSIFICATION: classification_folder}
    for task, folder in folders.items():
        words = ["eval", "--model_type", "babelclip", "--model", "mini", "--pretrained", str(MINI)]
        words += ["--dataset", f"wds/{folder.name}", "--dataset_root", str(folder), "--task", task]
        words += ["--recall_k", "1", "5", "10", "--no_amp", "--num_workers", "0"]
        commands.append([*words, "--output", str(work / f"{task}.json")])
    commands.append(["build", str(work), "--output", str(work / "table.csv")])
    run(python, "-c", EVERY_COMMAND, json.dumps(commands))
    return work


@pytest.mark.parametrize("task", [tasks.RETRIEVAL, tasks.CLASSIFICATION])
def test_every_metric_is_what_clip_benchmark_finds(ours: dict[str, Result], theirs: Path, task: str) -> None:
    """Protects every figure to the last query, with one and two captions an image and images a class."""
    other = results.read(theirs / f"{task}.json")
    assert other.metrics == pytest.approx(ours[task].metrics, abs=1e-6)
    assert other.subject == ours[task].subject


def test_our_results_are_in_clip_benchmarks_table(theirs: Path) -> None:
    """Protects the form of our result files: both tasks, theirs and ours, in one table."""
    with (theirs / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["dataset"] for row in rows) == ["classes", "drawings", "wds/classes", "wds/drawings"]
    assert all(row["acc1"] or row["image_retrieval_recall@5"] for row in rows)


def test_without_clip_benchmark_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the plugin's command from a traceback where the package is not installed."""
    monkeypatch.setitem(sys.modules, "clip_benchmark", None)
    with pytest.raises(SystemExit, match="pip install clip-benchmark"):
        clip_benchmark_plugin.main()
