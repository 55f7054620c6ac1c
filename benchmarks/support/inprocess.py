"""A tower without a server: the handler of its archive, called from the process that measures."""

import shutil
import zipfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from benchmarks.support import inputs
from handlers.base import Handler
from handlers.batching import Group, PreprocessResult
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler


def unpacked(archive: Path) -> Path:
    """The folder that TorchServe would make of an archive, kept beside it until the archive changes."""
    folder = archive.parent / f".{archive.stem}"
    stamp = folder / ".made"
    if not stamp.exists() or stamp.stat().st_mtime_ns < archive.stat().st_mtime_ns:
        shutil.rmtree(folder, ignore_errors=True)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        stamp.touch()
    return folder


class InProcess:
    """`handler` is the tower's own, with the archive's settings; `items` are what it is given."""

    def __init__(self, archive: Path, tower: str, **settings: Any) -> None:
        folder = unpacked(archive)
        config = yaml.safe_load((folder / "model-config.yaml").read_text(encoding="utf-8"))
        config["babelclip"] |= settings
        self.items: list[Any] = list(inputs.texts() if tower == "text" else inputs.images())
        self._turn = cycle(self.items)
        self.handler: Handler = TextHandler() if tower == "text" else VisionHandler()
        context = SimpleNamespace(
            system_properties={"model_dir": str(folder), "gpu_id": None},
            model_yaml_config=config,
            metrics=None,
            manifest=None,
        )
        self.handler.initialize(context)

    def take(self, count: int) -> list[Any]:
        """The next `count` items; after the last the first follows again."""
        return list(islice(self._turn, count))

    def decode(self, count: int) -> list[Group]:
        """`count` items, decoded or tokenised and put into groups."""
        return list(self._groups(count))

    def pipeline(self, count: int) -> None:
        """`count` items all the way: while one group goes through the tower, the next is being decoded."""
        for group in self._groups(count):
            self.handler.runner(*group.arrays)

    def _groups(self, count: int) -> Iterator[Group]:
        self.handler.deadline.restart()
        return self.handler.groups(self.take(count), PreprocessResult(), self.handler.deadline)
