"""The modules behind `python -m benchmarks.NAME`."""

import importlib
from types import ModuleType


def command_module(name: str) -> ModuleType:
    """What `python -m` runs: the module, or of a package its `__main__`."""
    found = importlib.import_module(f"benchmarks.{name}")
    return importlib.import_module(f"benchmarks.{name}.__main__") if hasattr(found, "__path__") else found
