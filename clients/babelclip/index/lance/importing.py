"""The import of LanceDB, without a client that comes with it and that nothing here calls.

LanceDB takes the types of a service's requests from `lance_namespace_urllib3_client`, and importing that
package makes its calls too, each with a check of its arguments: half of the time of the whole import, which
is what a command that searches an index mostly does. The calls stay importable by whoever wants them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = "lance_namespace_urllib3_client"
_CALLS = f"{_PACKAGE}.api"


def import_lancedb() -> ModuleType:
    """The module `lancedb`.

    Raises:
        ImportError: it is not installed.
    """
    if _PACKAGE in sys.modules:
        return importlib.import_module("lancedb")
    empty = _Empty()
    sys.meta_path.insert(0, empty)
    try:
        return importlib.import_module("lancedb")
    finally:
        sys.meta_path.remove(empty)
        _leave_to_their_first_use()


class _Later:
    """In the place of every class of calls while the package is imported."""


class _Empty(MetaPathFinder, Loader):
    """Finds the modules of the calls, with nothing in them but `_Later` by whatever name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _CALLS or fullname.startswith(f"{_CALLS}."):
            return ModuleSpec(fullname, self, is_package=fullname == _CALLS)
        return None

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = lambda name: _Later


def _leave_to_their_first_use() -> None:
    """Forget the empty modules; the package finds its classes of calls when they are asked for."""
    for name in [name for name in sys.modules if name == _CALLS or name.startswith(f"{_CALLS}.")]:
        del sys.modules[name]
    package = sys.modules.get(_PACKAGE)
    if package is None:
        return
    later = [name for name, value in vars(package).items() if value is _Later]
    for name in later:
        delattr(package, name)
    vars(package).pop("api", None)

    def find(name: str) -> Any:
        if name in later:
            return getattr(importlib.import_module(_CALLS), name)
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")

    vars(package)["__getattr__"] = find
