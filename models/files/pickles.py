"""Pickles of tensors: training checkpoints, heads and weights that torch.save wrote, here or elsewhere.

A pickle may run any program when it is read. torch reads one with `weights_only`, which builds tensors and
plain values alone; besides them only numpy's numbers are let in, which a schedule leaves in a checkpoint as
its learning rate. Whatever else a file holds is refused, by name.
"""

import errno
import re
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

# A number is this function of a dtype, built from its class, and of bytes; numpy 1 kept it elsewhere.
SCALAR = np.float64(0).__reduce__()[0]
NUMBERS: list[Any] = [
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # what files of torch.save begin with, since torch 1.6 and before
COLOURS = re.compile(r"\x1b\[[\d;]*m")
REFUSED = re.compile(r"GLOBAL ([\w.]+)|got <class '([\w.]+)'>")


class PickleError(Exception):
    """A file cannot be read; the message says why, in one line that follows the file's name."""


def load(path: Path, *, mmap: bool = False) -> Any:
    """What torch.save wrote, on the CPU.

    `mmap` leaves the tensors on the disk until they are used, in files that allow it: those from before torch
    1.6 do not.

    Raises:
        PickleError: the file is damaged, is no file of torch's, or holds more than tensors and plain values.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(ZIP))
        if not begins.startswith((ZIP, PICKLE)):
            raise PickleError("it is empty" if not begins else "it is no file that torch.save wrote")
        with safe(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # What is wrong is said here, in one line.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and begins == ZIP)
    except PickleError:
        raise
    except Exception as error:  # torch raises many kinds.
        raise PickleError(reason(error)) from error


def safe() -> AbstractContextManager[None]:
    """Inside, `torch.load` with `weights_only` takes numpy's numbers too."""
    found: AbstractContextManager[None] = torch.serialization.safe_globals(NUMBERS)
    return found


def reason(error: Exception) -> str:
    """What is wrong with a pickle, as a part of one sentence; torch's own is long, and about its options."""
    message = str(error)
    if found := REFUSED.search(message):
        return (
            f"it holds {found[1] or found[2]}, and nothing but tensors and plain values is read, as anything "
            "else in a pickle could run a program; save its state_dict alone"
        )
    if "TorchScript" in message:
        return "it is a TorchScript program, which could do anything; save its state_dict alone"
    if "Weights only load failed" in message:
        return "it is no file that torch.save wrote, or holds more than tensors and plain values"
    # Of a short rest, torch looks for the archive's end before its beginning.
    before_start = isinstance(error, OSError) and error.errno == errno.EINVAL
    if before_start or "failed finding central directory" in message:
        return "it is cut short"
    return first_line(error)


def first_line(error: Exception) -> str:
    """What an exception of another library says, short enough for one line, without its colours."""
    return COLOURS.sub("", str(error)).strip().partition("\n")[0][:300] or type(error).__name__
