"""The code that an archive brings: its package `handlers`, imported as TorchServe's workers import it.

The package imports itself by that name, so a process has room for one. It stands in a folder of its own for
as long as the process lives, as imported code does, though the archives it came from may be gone.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool

from babelclip.errors import TransportError
from babelclip.wire import Tower

PACKAGE = "handlers"
_CLASSES: dict[Tower, str] = {"text": "TextHandler", "vision": "VisionHandler"}
_lock = threading.Lock()


def make_handler(folder: Path, tower: Tower) -> Any:
    """A handler of the unpacked archive in `folder`, not yet initialised.

    Raises:
        TransportError: the process has another package of this name, imported or to be imported.
        ImportError: a package that the handlers need is not installed.
    """
    with _lock:
        present = importlib.util.find_spec(PACKAGE)
        if present is None:
            _install(folder / PACKAGE)
        elif not _same_code(present, folder / PACKAGE):
            raise TransportError(
                f"the archive brings a package {PACKAGE!r}, and this process finds another one of that name,"
                f" {present.origin}: export the archive again if that is newer code for it, or open the model"
                " in a process that does not find it"
            )
        return getattr(import_needed(f"{PACKAGE}.clip_{tower}"), _CLASSES[tower])()


def import_needed(module: str) -> Any:
    """A module that only this way of running a model needs.

    Raises:
        ImportError: it, or what it imports, is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"to run a model in this process the module {error.name!r} is missing:"
            " pip install 'babelclip[inprocess]'; or call a server",
            name=error.name,
        ) from error


def _install(source: Path) -> None:
    """Copies the package, and makes it importable by its name without a change of `sys.path`."""
    folder = Path(tempfile.mkdtemp(prefix="babelclip-code-"))
    atexit.register(_remove, folder, os.getpid())
    package = shutil.copytree(source, folder / PACKAGE)
    spec = importlib.util.spec_from_file_location(PACKAGE, package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    _import_messages()


def _import_messages() -> None:
    """Imports the archive's own form of the wire's messages, which may be older or newer than this package's.

    protobuf takes two files of one name into a pool only if they are the same, so these get one of their own.
    """
    own = descriptor_pool.DescriptorPool()
    default = descriptor_pool.Default
    descriptor_pool.Default = lambda: own
    try:
        import_needed(f"{PACKAGE}.embedding_pb2")
    finally:
        descriptor_pool.Default = default


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # A forked child leaves it to its parent, and to its other children.
        shutil.rmtree(folder, ignore_errors=True)


def _same_code(present: ModuleSpec, package: Path) -> bool:
    # A module of one file has no such locations; a folder without __init__.py has no origin.
    if present.submodule_search_locations is None or present.origin is None:
        return False
    return _sources(Path(present.origin).parent) == _sources(package)


def _sources(package: Path) -> dict[Path, bytes]:
    return {path.relative_to(package): path.read_bytes() for path in package.rglob("*.py")}


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # In a forked child the old one may be held by a thread that is not there.
    os.register_at_fork(after_in_child=_renew_lock)
