"""Memory between the steps of an export: freed at once, so that a large tower is never held twice."""

import ctypes
import gc
import mmap
import sys

import torch
from torch import Tensor, nn


def free_tower(model: nn.Module, tower: str) -> None:
    """Free a tower's weights, but for those that the rest of the model has too, and remove it from the model.

    Exporters keep the modules that they have seen in caches, so deleting the module alone would free nothing.
    """
    module = getattr(model, tower)
    delattr(model, tower)
    kept = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.data_ptr() not in kept:
            _drop_pages(tensor)
            tensor.data = torch.empty(0)
    trim_heap()


def _drop_pages(tensor: Tensor) -> None:
    """Tell the kernel that the whole pages of a tensor will not be read again.

    A file of both towers stays mapped while one of them is in use, with all pages that were ever read.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if tensor.is_contiguous() and end > first:
        libc = ctypes.CDLL(None)
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def trim_heap() -> None:
    """Collect garbage and return free memory to the operating system.

    glibc keeps freed blocks below 32 MB for itself, which is most of a model's matrices; other C libraries
    have no `malloc_trim`, and need none.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
