"""Packed into low-memory text archives only, and read when a worker starts: TorchServe has the archive on
PYTHONPATH.

TorchServe's worker imports torch only to ask of each response whether it is a tensor, which those of our
handlers never are. The import takes seconds and 200 MB, which a text tower on ONNX Runtime has no other use
for. So the worker gets a stand-in, until the archive's own package `handlers` is imported; whoever imports
torch from then on gets torch. Whatever else is called sitecustomize is read as well.
"""

import importlib.util
import sys
import types
from importlib.machinery import PathFinder
from pathlib import Path


class Tensor:
    """What no response is an instance of."""


class UntilHandlers:
    """An entry of `sys.meta_path` that finds nothing, and takes the stand-in away before `handlers`."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Called by Python before each import of a module that is not loaded yet."""
        if name == "handlers" and sys.modules.get("torch") is stand_in:
            del sys.modules["torch"]


def read_the_next() -> None:
    """Run the sitecustomize that Python would have read if this one were not before it."""
    here = Path(__file__).resolve().parent
    others = [entry for entry in sys.path if Path(entry).resolve() != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


stand_in = types.ModuleType("torch", "stand-in")
stand_in.Tensor = Tensor  # type: ignore[attr-defined]  # a new module declares none

read_the_next()
if "torch" not in sys.modules:
    sys.modules["torch"] = stand_in
    sys.meta_path.insert(0, UntilHandlers)
