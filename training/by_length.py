"""Texts of like length go through a tower together, so that little of what it computes is padding."""

import torch
from torch import Tensor, nn

GROUPS = 6


class ByLength(nn.Module):
    """A text tower, or what stands for one, whose batch is computed in GROUPS groups of like length.

    Worth it where a matmul costs what its shape says, on CPUs; where every new shape is compiled, or small
    matmuls leave a device idle, it is not.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L], padded on the right → [N, D], in order."""
        lengths = mask.sum(1)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in order.chunk(GROUPS):
            longest = int(lengths[rows[-1]])
            parts.append(self.tower(ids[rows, :longest], mask[rows, :longest]))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return torch.cat(parts)[back]


def by_length(tower: nn.Module, kind: str) -> nn.Module:
    """The tower itself, or in groups of like length where devices of this kind gain by it."""
    return ByLength(tower) if kind == "cpu" else tower
