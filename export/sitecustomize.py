"""Packed into text archives, and read when a worker starts: TorchServe has the archive on PYTHONPATH.

TorchServe's worker imports torch only to ask of each answer whether it is a tensor, which those of our
handlers never are. The import takes seconds and 200 MB, which a text tower on ONNX Runtime has no other use
for. So the worker gets a stand-in; handlers/clip_text.py takes it away again, and whoever imports torch from
then on gets torch. Whatever else is called sitecustomize is read as well.
"""

import importlib.util
import sys
import types
from importlib.machinery import PathFinder
from pathlib import Path


class Tensor:
    """What no answer is an instance of."""


def read_the_next() -> None:
    """Run the sitecustomize that Python would have read if this one were not before it."""
    here = Path(__file__).resolve().parent
    others = [entry for entry in sys.path if Path(entry).resolve() != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


read_the_next()
if "torch" not in sys.modules:
    sys.modules["torch"] = types.ModuleType("torch", "stand-in")
    sys.modules["torch"].Tensor = Tensor  # type: ignore[attr-defined]
