"""Distillation: a multilingual text tower learns a teacher's text vectors from parallel text.

    python -m training.stages.distillation TEACHER --student STUDENT --pairs en-de.tsv --out runs/stage1

AltCLIP's first stage (Chen et al. 2022): the teacher, a CLIP that knows English, reads the source of each
pair; the student reads the target, which is in any language, and its pooled state is drawn to the teacher's
by the mean squared error. The head that leads from there into the common space is the teacher's, unchanged.
No image takes part, and nothing else moves. Dropout is off. The teacher's states are computed once and kept
in the run's folder. Pairs of English with itself keep the student's English; leave them in.

TEACHER and STUDENT are models of any kind that `python -m export` takes, with pooled states of one width.
With STUDENT left out the student is the teacher itself with new weights in its text tower.
`runs/stage1/model` is the student with what it learned; `training.stages.contrastive` goes on from it.

On several devices: torchrun --nproc-per-node 8 -m training.stages.distillation …
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import outputs
from models.checkpoint import Checkpoint, CheckpointError
from models.dual_encoder import TextTower
from models.files.weights import first_line
from models.loaders import registry
from models.modules import text_tower
from models.revision import revision
from training import distributed, frozen_vectors, losses
from training.by_length import by_length
from training.datasets import parallel, splitting
from training.datasets.order import Order
from training.datasets.parallel import Pairs
from training.datasets.rows import DataError, LeftOut
from training.devices import Device
from training.evaluation import metrics
from training.loop import RunError, Stage
from training.stages import options as stage_options

MEASURED = 5000  # pairs


class PooledEncoder(nn.Module):
    """A text tower up to its pooled state; a module of its own, so that its gradients can be averaged."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → [N, width]."""
        found: Tensor = self.tower.pooled(ids, mask)
        return found


class DistillationStage(Stage[list[int]]):
    """Batches are rows of the pairs to train on."""

    def __init__(
        self, options: argparse.Namespace, device: Device, teacher: Checkpoint, student: Checkpoint
    ) -> None:
        self.options, self.device, self.student = options, device, student
        self.pairs, self.measured, self.measured_name = _read(options)
        self.order = Order(
            len(self.pairs),
            options.batch,
            seed=options.seed,
            rank=distributed.rank(),
            world=distributed.world_size(),
            drop_last=True,
        )
        self.in_epoch, self.rows = self.order.steps, options.batch * distributed.world_size()
        self.scale = float(teacher.meta["logit_scale"])
        spoken = {pair.language for pair in self.pairs if pair.language}
        student.meta["languages"] = sorted({*student.meta["languages"], *spoken})
        self.sources, self.targets = self._taught(teacher)
        _take_projection(teacher.model.text, student.model.text)
        self.learned = student.model.text.requires_grad_(True).to(device.torch_device)
        for module in self.learned.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.tokens = stage_options.tokens_of(student)
        encoder = PooledEncoder(self.learned)
        width = freeze_unused(encoder, *(part.to(device.torch_device) for part in self.tokens(["a", "b c"])))
        if width != self.targets.shape[1]:
            raise RunError(
                f"the teacher's states have {self.targets.shape[1]} dimensions and the student's {width}: "
                "they must have the same"
            )
        device.compile(encoder)
        self.encoder = distributed.replicated(by_length(encoder, device.kind))
        self.fixed = {
            "stage": "teacher",
            "teacher": teacher.meta["space"],
            "student": student.meta["space"],
            "fresh_text": options.student is None,
            "pairs": len(self.pairs),
            **{name: getattr(options, name) for name in ("epochs", "batch", "accumulate", "lr", "seed")},
            "processes": distributed.world_size(),
        }
        self.revision = revision()

    def batches(self, epoch: int, first: int) -> Iterator[list[int]]:
        for draws in self.order.of_epoch(epoch, first=first):
            yield [draw.index for draw in draws]

    def loss(self, batch: list[int]) -> Tensor:
        pairs = [self.pairs[row] for row in batch]
        return losses.teacher_mse(
            self._student([pair.target for pair in pairs]), self._teacher([pair.source for pair in pairs])
        )

    def measure(self) -> dict[str, float]:
        """On pairs whose sources were held out, or on trained ones where none are: `--held-out`."""
        name = self.measured_name
        students, teachers = [], []
        for start in range(0, len(self.measured), self.options.batch):
            pairs = self.measured[start : start + self.options.batch]
            students.append(self._student([pair.target for pair in pairs]).float().cpu())
            teachers.append(self._teacher([pair.source for pair in pairs]).cpu())
        student, teacher = torch.cat(students), torch.cat(teachers)
        cosine = nn.functional.cosine_similarity(student, teacher).mean().item()
        label = torch.tensor([losses.label_of(pair.source) for pair in self.measured])
        queries, gallery = (nn.functional.normalize(rows, dim=-1) for rows in (student, teacher))
        recall = metrics.recall_at_1(queries, gallery, label)
        error = losses.teacher_mse(student, teacher).item()
        return {f"{name}_mse": error, f"{name}_cosine": cosine, f"{name}_recall@1": recall, "score": cosine}

    def write(self, about: dict[str, Any]) -> None:
        registry.save(
            self.student,
            self.options.out / "model",
            scale=self.scale,
            about={**about, "revision": self.revision},
        )

    def _student(self, texts: list[str]) -> Tensor:
        ids, mask = (part.to(self.device.torch_device) for part in self.tokens(texts))
        with self.device.autocast():
            found: Tensor = self.encoder(ids, mask)
        return found

    def _teacher(self, texts: Sequence[str]) -> Tensor:
        rows = self.targets[[self.sources[text] for text in texts]]
        return torch.from_numpy(np.array(rows)).to(self.device.torch_device)

    def _taught(self, teacher: Checkpoint) -> tuple[dict[str, int], Any]:
        """Source → row, and the teacher's states float32 [sources, width]."""
        ordered = sorted({pair.source for part in (self.pairs, self.measured) for pair in part})
        tower = teacher.model.text.requires_grad_(False).eval().to(self.device.torch_device)
        tokens = stage_options.tokens_of(teacher)

        def embed(part: range) -> Tensor:
            ids, mask = (x.to(self.device.torch_device) for x in tokens(ordered[part.start : part.stop]))
            with self.device.autocast():
                found: Tensor = tower.pooled(ids, mask)
            return found

        name = f"teacher-{frozen_vectors.digest_of(teacher.meta['space'], ordered)}.npy"
        width = embed(range(1)).shape[1]
        vectors = frozen_vectors.vectors(self.options.out / name, len(ordered), width, embed)
        return {text: row for row, text in enumerate(ordered)}, vectors


def _take_projection(teacher: TextTower, student: TextTower) -> None:
    """Give the student the teacher's way into the common space: its projection, and its memory.

    Raises:
        RunError: the two differ in kind or shape.
    """
    try:
        student.projection.load_state_dict(teacher.projection.state_dict())
        student.memory.load_state_dict(teacher.memory.state_dict())
    except RuntimeError as error:
        raise RunError(
            "the student must have a projection of the teacher's shape, as it takes the teacher's: "
            f"{first_line(error)}"
        ) from error


def freeze_unused(module: nn.Module, *inputs: Tensor) -> int:
    """Freeze what has no part in the output, such as the pooler of a model whose tokens are averaged.

    Nothing would be learned there, and processes that average gradients wait for those of all parameters.
    Returns the width of the output.
    """
    output = module(*inputs)
    output.sum().backward()
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
    return int(output.shape[1])


def _read(options: argparse.Namespace) -> tuple[Pairs, Pairs, str]:
    """Pairs to train on, those to measure on, and whether these are held_out or trained ones."""
    left_out = LeftOut(strict=False)
    files = [
        parallel.read(
            path,
            source_column=options.source_column,
            target_column=options.target_column,
            language_column=options.language_column,
            strict=False,
        )
        for path in options.pairs
    ]
    for found in files:
        if found.left_out.counts and distributed.rank() == 0:
            print(found.left_out, flush=True)
    pairs = Pairs((pair for found in files for pair in found), left_out)
    training, held_out = splitting.split(pairs, share=options.held_out, seed=options.seed)
    if len(training) < options.batch * distributed.world_size():
        raise RunError(
            f"{len(training)} pairs to train on do not fill a batch: a smaller --batch, or more pairs"
        )
    measured = held_out if len(held_out) else training
    order = np.random.default_rng(0).permutation(len(measured))[:MEASURED]
    return training, measured.take(order.tolist()), "held_out" if len(held_out) else "trained"


def make(options: argparse.Namespace, device: Device) -> DistillationStage:
    """Load both models and the data.

    Raises:
        CheckpointError, DataError, RunError: what is wrong, in a sentence.
    """
    teacher = registry.load(registry.locate(options.teacher))
    student = registry.load(registry.locate(options.student or options.teacher))
    if options.student is None:
        if student.architecture is None:
            raise RunError("new weights are for this project's own checkpoints: name a --student")
        student.model.text = text_tower(student.architecture)
    student.model.requires_grad_(False).eval()
    return DistillationStage(options, device, teacher, student)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.stages.distillation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("teacher", metavar="TEACHER", help="the model whose text vectors are learned")
    parser.add_argument("--student", help="the model whose text tower learns them")
    parser.add_argument("--pairs", nargs="+", type=Path, required=True, help="parallel text: TSV, CSV, JSONL")
    parser.add_argument("--source-column", default="source_text", help="what the teacher reads")
    parser.add_argument("--target-column", default="target_text", help="what the student reads")
    parser.add_argument(
        "--language-column", help="the target's language; those of the pairs join the model's languages"
    )
    stage_options.add(parser, batch=256, lr=1e-4, decay=0.2)
    options = parser.parse_args(arguments)
    outputs.check("training.stages.distillation", "--out", options.out)
    try:
        stage_options.launch(options, make)
    except (CheckpointError, DataError, RunError) as error:
        sys.exit(f"training.stages.distillation: {error}")


if __name__ == "__main__":
    main()
