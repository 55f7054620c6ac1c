"""A model from its own files: exported where that has not been done yet, into a store of its own."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from serving import LaunchError
from serving.child import ChildFailed, how_it_ended
from serving.options import REPOSITORY, STORE

HUB = "hf-hub:"
STOP_SECONDS = 30.0


def store_of(source: str, words: list[str]) -> Path:
    """Where the export of a source with these options is kept.

    One folder each: another model, or the same one in another form, takes nothing away. What an export was
    made from stands in its manifest, so that a new revision in the same place is seen.
    """
    place = source if source.startswith(HUB) else str(Path(source).resolve())
    digest = hashlib.sha256(json.dumps([place, words]).encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.removeprefix(HUB)).strip(".-")
    return STORE / "sources" / f"{name[-60:].lstrip('.-') or 'model'}-{digest}"


def model_name(source: str | None, name: str) -> str:
    """What callers name the model: as on the hub, else as in its files, in letters that a name may have."""
    if source is not None and source.startswith(HUB):
        name = source.removeprefix(HUB).partition("@")[0]
    return re.sub(r"[^A-Za-z0-9._/-]+", "-", name).lstrip("._/-")[:100] or "clip"


def export(source: str, store: Path, words: list[str], stop: threading.Event) -> None:
    """Run `python -m export --if-needed`, whose lines reach the operator as they are.

    Returns early where `stop` is set meanwhile.

    Raises:
        ChildFailed: it has said why.
        LaunchError: the packages for it are not installed, or it was killed.
    """
    if find_spec("transformers") is None:
        raise LaunchError("to export a model, packages are missing; `scripts/setup train` installs them")
    # -P: the current folder may hold anything, and its modules are not to come first.
    command = [sys.executable, "-P", "-m", "export", source, "--store", str(store), "--if-needed", *words]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this process alone.
    )
    while process.poll() is None:
        if stop.wait(0.1):
            # As Ctrl-C does it, so that it removes what is unfinished.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # It may have been killed, or interrupted just when the folder was made.
            for left in store.glob(f".export-{process.pid}-*"):
                shutil.rmtree(left, ignore_errors=True)
            return
    if process.returncode < 0:
        raise LaunchError(f"the export of {source} {how_it_ended(process.returncode)}")
    if process.returncode:
        raise ChildFailed
