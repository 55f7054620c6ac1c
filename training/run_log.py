"""What a run tells of itself: lines for people, log.jsonl, and what was asked for besides.

log.jsonl       one JSON object per entry: {"epoch", "step", "loss", …}
TensorBoard     event files in the run's folder, with --tensorboard (needs the package tensorboard)
W&B             with --wandb PROJECT (needs the package wandb); nothing leaves the machine unasked
Prometheus      a text file for a node exporter's textfile collector, with --metrics-file PATH
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile


class RunLogger:
    """Writes in process 0 alone."""

    def __init__(
        self,
        folder: Path,
        *,
        writes: bool = True,
        tensorboard: bool = False,
        wandb: str | None = None,
        metrics_file: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepares the folder; `constants` are in every entry.

        Raises:
            ModuleNotFoundError: a package that was asked for is not installed.
        """
        self.folder, self.writes = folder, writes
        self.metrics_file = metrics_file
        self.constants = dict(constants or {})
        self.registry = CollectorRegistry()
        self.gauges: dict[str, Gauge] = {}
        self.board: Any = None
        self.run: Any = None
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            self.board = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
        if wandb is not None:
            config = {name: str(value) for name, value in (settings or {}).items()}
            self.run = importlib.import_module("wandb").init(project=wandb, config=config)

    def info(self, line: str) -> None:
        """A line for people."""
        if self.writes:
            print(line, flush=True)

    def log(self, row: Mapping[str, Any]) -> None:
        """An entry; it has the step that it is of as `step`."""
        if not self.writes:
            return
        row = {**self.constants, **row}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, row["step"])
            self.board.flush()
        if self.run is not None:
            self.run.log(row, step=row["step"])
        if self.metrics_file is not None:
            self._write_metrics(numbers)

    def _write_metrics(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            if name not in self.gauges:
                metric = "babelclip_training_" + "".join(c if c.isalnum() else "_" for c in name)
                help_text = f"The latest {name} in log.jsonl of this run."
                self.gauges[name] = Gauge(metric, help_text, ["run"], registry=self.registry)
            self.gauges[name].labels(self.folder.name).set(value)
        # Written beside and renamed, by the library, so that a collector never reads half a file.
        write_to_textfile(str(self.metrics_file), self.registry)
