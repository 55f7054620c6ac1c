"""Projection heads on frozen towers: both phases, resuming, and what stays frozen."""

import hashlib
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from export.options import Options
from export.pipeline import export
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from models.dual_encoder import DualEncoder
from models.files.weights import CheckpointError
from models.loaders import registry
from tests.handlers.worker import Worker, http
from tests.systems import families
from tests.training.stages.heads.flags import flags, options
from training import states
from training.datasets import coco as examples
from training.datasets.decoding import decode
from training.loop import RunError
from training.stages import options as stage_options
from training.stages.heads import inputs as heads_inputs
from training.stages.heads import options as heads_options
from training.stages.heads import stage as heads
from training.stages.heads.launcher import main
from training.stages.heads.options import OptionsError

pytestmark = pytest.mark.slow  # trains and exports

SUBJECTS = ("ocean", "bicycle", "elephant", "guitar", "bread", "tower", "dancer", "market")
PLACES = ("at night", "in the rain", "on a hill", "by the river", "in the kitchen", "from above")
IMAGES = len(SUBJECTS) * len(PLACES)


def draw(path: Path, number: int) -> str:
    """Write an image of its own colour, by which the small tower tells images apart; returns its caption."""
    colour = np.random.default_rng(number).integers(0, 256, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), tuple(colour.tolist())).save(path, "PNG")
    return f"{SUBJECTS[number % len(SUBJECTS)]} {PLACES[number // len(SUBJECTS)]}"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is slower in several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
@torch.no_grad()
def models(tmp_path_factory: pytest.TempPathFactory, coco: Path) -> Path:
    """The frozen towers, small, with features that differ as those of trained towers do.

    Random towers see all things nearly alike: the mean of what they make of the data is taken off, by their
    last layers, and the rest is brought to 1.
    """
    folder = tmp_path_factory.mktemp("models")
    families.gzomer(folder, true=False)
    frozen = heads_inputs.read_frozen(folder)
    towers, tokenizer = frozen.towers, frozen.tokenizer
    found = examples.read(coco / "annotations" / "captions_train2014.json", coco / "train2014")
    pixels = torch.from_numpy(np.stack([decode(one.read(), size=64) for one in found]))
    ids, mask = heads_inputs.tokens(tokenizer, [one.captions[0] for one in found])
    features = {
        ("RN50x4/open_clip_model", "visual.attnpool.c_proj"): raw(towers.vision, pixels),
        ("xlm-roberta-base/model", "roberta.encoder.layer.0.output.LayerNorm"): raw(towers.text, ids, mask),
    }
    for (name, last), rows in features.items():
        path = folder / f"{name}.safetensors"
        state = {key: value.clone() for key, value in load_file(path).items()}
        spread = (rows - rows.mean(0)).std()
        state[f"{last}.weight"] /= spread
        state[f"{last}.bias"] = (state[f"{last}.bias"] - rows.mean(0)) / spread
        save_file(state, path, metadata={"format": "pt"})
    return folder


def raw(tower: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
    """What comes out of a tower's encoder: [N, width]."""
    rows: list[torch.Tensor] = []
    hook = tower.get_submodule("projection").register_forward_pre_hook(lambda _, given: rows.append(given[0]))
    tower(*inputs)
    hook.remove()
    return rows[0]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's layout: each image has two captions."""
    folder = tmp_path_factory.mktemp("coco")
    images, annotations = [], []
    for number in range(IMAGES):
        caption = draw(folder / "train2014" / f"{number}.png", number)
        images.append({"id": number, "file_name": f"{number}.png"})
        annotations += [{"image_id": number, "caption": text} for text in (caption, f"{caption}, seen again")]
    (folder / "annotations").mkdir()
    found = {"images": images, "annotations": annotations}
    (folder / "annotations" / "captions_train2014.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(scope="module")
def googlecc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conceptual Captions' layout, one of whose rows was never downloaded."""
    folder = tmp_path_factory.mktemp("googlecc")
    rows, downloaded = ["lost\thttp://example.org/lost"], {"http://example.org/lost": "status 404"}
    for number in range(IMAGES):
        url = f"http://example.org/{number}"
        name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        rows.append(f"{draw(folder / 'images' / f'{name}.jpg', number)}\t{url}")
        downloaded[url] = "success"
    (folder / "googlecc.tsv").write_text("\n".join(rows) + "\n")
    (folder / "processed_map.json").write_text(json.dumps(downloaded))
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in this process sets what its launcher would; this puts back what was there."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.delenv("NODE_RANK", raising=False)


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """The log's measures of whole epochs, each with the loss of its steps."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in rows if "loss" in row}
    return [{**row, "training_loss": losses[row["step"]]} for row in rows if "held_out_loss" in row]


def state_of(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@pytest.fixture(scope="module")
def phase_1(tmp_path_factory: pytest.TempPathFactory, models: Path, coco: Path) -> Path:
    """The folder of a run of two processes over COCO."""
    folder = tmp_path_factory.mktemp("phase") / "one"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    more = ["--distributed-parallel-devices", "2", "--distributed-master-port", port]
    more += ["--hyperparam-epochs", "8", "--hyperparam-batch-size", "5", "--checkpoint-save-every-n", "3"]
    more += ["--keep", "1"]
    # As a command: what its processes are started from differs from what a test imports.
    command = [sys.executable, "-m", "training", *flags(models, coco, folder, *more)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_images_that_coco_lacks_are_counted(coco: Path, tmp_path: Path) -> None:
    """Protects runs on a part of COCO's images: the captions of the others are left out, and said to be."""
    shutil.copytree(coco, tmp_path / "coco")
    for number in (3, 8):
        (tmp_path / "coco" / "train2014" / f"{number}.png").unlink()
    found = heads_inputs.read_examples(options(flags(tmp_path, tmp_path / "coco", tmp_path)))
    assert len(found) == IMAGES - 2
    assert found.left_out.counts == {"missing image": 4, "no usable caption": 2}


def test_two_processes_train_heads_that_can_be_exported(phase_1: Path, models: Path) -> None:
    """Protects phase 1 from data to a model: it learns, and its folder is a source like the public one."""
    rows = epochs_of(phase_1)
    assert [row["epoch"] for row in rows] == list(range(1, 9)), "process 0 alone writes the log"
    assert rows[-1]["training_loss"] < rows[0]["training_loss"] - 0.3
    assert rows[-1]["training_loss"] < math.log(10) - 0.2, "better than chance among a step's ten pairs"
    assert all(0 <= row["image_retrieval_recall@1"] <= 1 for row in rows)
    assert not list(phase_1.glob("*.partial"))
    assert json.loads((phase_1 / "heads.json").read_text())["epochs_done"] == 8
    loaded = registry.load(phase_1)
    assert loaded.meta["dim"] == 512
    trained = loaded.model.text.projection.state_dict()
    torch.testing.assert_close(trained, state_of(phase_1 / "text-coco.ckpt"))
    assert registry.space_of(phase_1) != registry.space_of(models)


def test_phase_2_starts_from_the_heads_of_phase_1(
    phase_1: Path, models: Path, googlecc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the second phase: with next to no learning rate it ends where the first phase did."""
    text, vision = phase_1 / "text-coco.ckpt", phase_1 / "vision-coco.ckpt"
    start = ["--dataset-type", "googlecc", "--hyperparam-lr", "1e-12", "--hyperparam-epochs", "1"]
    start += ["--checkpoint-load-text-path", str(text), "--checkpoint-load-vision-path", str(vision)]
    main(flags(models, googlecc, tmp_path / "two", *start))
    for tower, path in (("text", text), ("vision", vision)):
        torch.testing.assert_close(state_of(tmp_path / "two" / f"{tower}-googlecc.ckpt"), state_of(path))
    assert "1 left out: not downloaded" in capsys.readouterr().out

    start[-3], start[-1] = str(vision), str(text)
    with pytest.raises(SystemExit, match=r"vision-coco\.ckpt: its weights are not those of the model"):
        main(flags(models, googlecc, tmp_path / "swapped", *start))


def test_both_phases_end_in_archives_that_serve_the_trained_heads(
    phase_1: Path, models: Path, googlecc: Path, tmp_path: Path
) -> None:
    """Protects the whole way: two phases, export, and a worker's vectors are those of what was trained."""
    text, vision = phase_1 / "text-coco.ckpt", phase_1 / "vision-coco.ckpt"
    second = ["--dataset-type", "googlecc", "--hyperparam-epochs", "6"]
    second += ["--checkpoint-load-text-path", str(text), "--checkpoint-load-vision-path", str(vision)]
    run, store = tmp_path / "heads", tmp_path / "store"
    main(flags(models, googlecc, run, *second))
    rows = epochs_of(run)
    assert rows[-1]["training_loss"] < rows[0]["training_loss"]
    result = export(run, store, Options(forms=("onnx",)))
    assert result["space"] == registry.space_of(run)
    trained = registry.load(run)
    pictures = [
        (googlecc / "images" / name).read_bytes() for name in sorted(os.listdir(googlecc / "images"))[:4]
    ]
    pixels = torch.from_numpy(np.stack([decode(data, size=64) for data in pictures]))
    captions = [f"{subject} at night" for subject in SUBJECTS]
    binary = {"Accept": "application/x-protobuf"}
    ids, mask = stage_options.tokens_of(trained)(captions)
    with torch.inference_mode():
        due = {"text": trained.model.text(ids, mask), "vision": trained.model.vision(pixels)}
    served = {
        "text": served_by(
            store, "text", TextHandler, [http(one.encode(), "text/plain", **binary) for one in captions]
        ),
        "vision": served_by(
            store, "vision", VisionHandler, [http(one, "image/png", **binary) for one in pictures]
        ),
    }
    for tower, rows_due in due.items():
        torch.testing.assert_close(served[tower], rows_due, atol=1e-4, rtol=0)


def served_by(store: Path, tower: str, handler: Any, calls: list[Any]) -> torch.Tensor:
    """What a worker behind TorchServe's own message code answers, float32 [N, dim]."""
    folder = store / f"unpacked-{tower}"
    with zipfile.ZipFile(store / f"heads-{tower}.mar") as packed:
        packed.extractall(folder)
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())["babelclip"]
    worker = Worker(handler, folder, settings | {"threads": 1, "dtype": "float32"})
    rows = [np.frombuffer(reply.message.vectors, dtype="<f4") for reply in worker.send(*calls)]
    return torch.from_numpy(np.stack(rows))


def test_a_resumed_run_goes_on_exactly(
    models: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects resuming: losses and heads are those of a run that was never stopped, to the bit."""
    main(flags(models, coco, tmp_path / "whole", "--hyperparam-epochs", "3"))

    save = states.save

    def save_and_stop(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        raise KeyboardInterrupt

    stopped = flags(models, coco, tmp_path / "stopped", "--hyperparam-epochs", "3", "--resume")
    monkeypatch.setattr(states, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        main(stopped)
    monkeypatch.setattr(states, "save", save)
    main(stopped)
    assert epochs_of(tmp_path / "stopped") == epochs_of(tmp_path / "whole")
    for name in ("text-coco.ckpt", "vision-coco.ckpt"):
        whole, resumed = (state_of(tmp_path / run / name) for run in ("whole", "stopped"))
        assert all(torch.equal(resumed[key], value) for key, value in whole.items())

    with pytest.raises(SystemExit, match="--hyperparam-batch-size 8, not 4: a run keeps it"):
        main([*stopped, "--hyperparam-batch-size", "4"])


def test_frozen_towers_stay_as_they_are(
    models: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the public models: no weight and no statistic of BatchNorm moves, and no dropout is on."""
    taken: list[DualEncoder] = []
    read = heads_inputs.read_frozen

    def watched(*named: Any) -> Any:
        found = read(*named)
        taken.append(found[0])
        return found

    monkeypatch.setattr(heads_inputs, "read_frozen", watched)
    main(flags(models, coco, tmp_path / "run", "--hyperparam-epochs", "1"))
    ours, fresh = taken[0], read(models)[0]
    for tower in ("text", "vision"):
        encoder = getattr(ours, tower).encoder
        before = getattr(fresh, tower).encoder.state_dict()
        assert tower == "text" or any("running_var" in key for key in before)
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, before[key]), key
        assert not any(module.training for module in encoder.modules())
        assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.filterwarnings("ignore:.*new random numbers")
def test_a_run_never_mixes_with_another(phase_1: Path, models: Path, googlecc: Path) -> None:
    """Protects trained heads: a folder that holds some takes a new run only to go on with it."""
    with pytest.raises(OptionsError, match=r"already holds .* --resume goes on with that run"):
        heads_options.check(options(flags(models, googlecc, phase_1)))
    going_on = options(flags(models, googlecc, phase_1, "--resume", "--dataset-type", "googlecc"))
    with pytest.raises(RunError, match="of a run with --dataset-type coco, not googlecc"):
        heads.train_on(going_on)


def test_too_few_images_are_named(models: Path, coco: Path, tmp_path: Path) -> None:
    """Protects from an epoch of no steps: a split that does not fill a step says what to change."""
    with pytest.raises(SystemExit, match="fill a step of 8 × 1: a smaller --hyperparam-batch-size"):
        main(flags(models, coco, tmp_path / "run", "--dataset-subset-size", "6"))
    with pytest.raises(CheckpointError, match="xlm-roberta-base"):
        heads_inputs.read_frozen(tmp_path)
