"""Giving memory back between the steps of an export, so that a large tower is not in it twice."""

import ctypes
import gc

import torch
from torch import nn


def let_go(model: nn.Module, tower: str) -> None:
    """Free a tower's weights and take it from the model.

    Exporters keep the modules that they have seen in caches, so deleting the module alone would free nothing.
    """
    module = getattr(model, tower)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = torch.empty(0)
    delattr(model, tower)
    give_back()


def give_back() -> None:
    """Return what is free to the operating system.

    glibc keeps freed blocks below 32 MB for itself, which is most of a model's matrices; other C libraries
    have no `malloc_trim`, and need none.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
