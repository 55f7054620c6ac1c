"""Losses for training dual encoders in any number of processes.

Every process calls a loss with its own n rows and gets the mean over them, against the columns of all N rows:
"local loss" with "gather with gradient" in open_clip's terms. The mean over processes of these losses, and of
the gradients that `training.distributed.replicated` averages, are those of one process with all N rows.

Rows of equal labels are never each other's negatives. A label is any int64 that means the same thing in every
process, such as `label_of(caption)`; `label` may hold several columns, such as the image's and the caption's,
and then two rows are of one thing where any column agrees.

Logits are float32, under autocast too: bfloat16's 8 bits are too few to tell those of a large batch apart.
"""

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import distributed

MAX_SCALE = 100.0
CONTRASTIVE_SCALE = 1 / 0.07
"""Where the scale of `contrastive` starts (Radford et al. 2021); its log is 2.6592."""
SIGMOID_SCALE, SIGMOID_BIAS = 10.0, -10.0
"""Where scale and bias of `sigmoid` start (Zhai et al. 2023)."""


class LogitScale(nn.Module):
    """The learned factor of cosine similarities, by its logarithm (Radford et al. 2021, section 2.5)."""

    def __init__(self, initial: float = CONTRASTIVE_SCALE) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """The scale, a scalar."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the logarithm back into [0, ln 100], to float32's precision; call after each optimiser step.

        The parameter is changed, not the value in the forward pass: a clamp there has no gradient beyond its
        limits, and the scale could never come back.
        """
        self.log_scale.clamp_(0.0, math.log(MAX_SCALE))


class LogitBias(nn.Module):
    """The learned summand of `sigmoid`'s logits (Zhai et al. 2023)."""

    def __init__(self, initial: float = SIGMOID_BIAS) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(initial))

    def forward(self) -> Tensor:
        """The bias, a scalar."""
        return self.bias


def label_of(key: str) -> int:
    """A label for a caption or an image's key, the same in every process, unlike Python's own hash.

    63 bits: among a million different keys, two share a label with a probability of 5e-8.
    """
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def contrastive(image: Tensor, text: Tensor, label: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy over in-batch negatives (InfoNCE; Radford et al. 2021, figure 3).

        ½ · mean_i [ H(p_i, softmax_j(s·x_i·y_j)) + H(p_i, softmax_j(s·y_i·x_j)) ]

    image, text float [n, D], unit rows, pair i in row i; label int64 [n] or [n, K]; scale a scalar. All rows
    of i's label share the target p_i equally; where all labels differ, that is CLIP's one-hot target.
    """
    same = _same(label)  # [n, N]
    target = same / same.sum(1, keepdim=True)
    by_image = F.cross_entropy(_logits(image, distributed.gather(text), scale), target)
    by_text = F.cross_entropy(_logits(text, distributed.gather(image), scale), target)
    return (by_image + by_text) / 2


def sigmoid(image: Tensor, text: Tensor, label: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Sigmoid loss (SigLIP; Zhai et al. 2023, algorithm 1): every pair is a yes or no of its own.

        −mean_i Σ_j log σ(z_ij · (s·x_i·y_j + b)),  z_ij = 1 where i and j are of one label, else −1

    Shapes as in `contrastive`; bias a scalar.
    """
    sign = 2 * _same(label) - 1  # [n, N]
    logits = _logits(image, distributed.gather(text), scale) + bias
    return -F.logsigmoid(sign * logits).sum(1).mean()


def supervised_contrastive(rows: Tensor, label: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of rows among one another, those of one label being right (Khosla et al. 2020).

        mean_i H(p_i, softmax_{j≠i}(s·x_i·x_j))

    rows float [n, D], unit rows; label int64 [n] or [n, K]. All other rows of i's label share the target p_i
    equally, and there must be one at least.
    """
    n = len(rows)
    own = torch.arange(n, device=rows.device) + n * distributed.rank()  # this process's rows among all
    logits = _logits(rows, distributed.gather(rows), scale)  # [n, N]
    same = _same(label)
    # Not −inf, of which a share of 0 would be NaN.
    logits, same = logits.scatter(1, own[:, None], -1e4), same.scatter(1, own[:, None], 0.0)
    return F.cross_entropy(logits, same / same.sum(1, keepdim=True))


def proxy_softmax(rows: Tensor, proxies: Tensor, label: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of rows against one vector per label, a proxy (Zhai & Wu 2019, normalised softmax).

        −mean_i log softmax_c(s·x_i·v_c / |v_c|)[label_i]

    rows float [n, D], unit rows; proxies float [C, D] of any length; label int64 [n], rows of the proxies.
    """
    return F.cross_entropy(_logits(rows, F.normalize(proxies, dim=-1), scale), label)


def teacher_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error to a frozen teacher's vectors (AltCLIP, Chen et al. 2022, stage 1).

    student, teacher float [n, D], not normalised; the mean is over rows and dimensions.
    """
    return F.mse_loss(student.float(), teacher.detach().float())


def _same(label: Tensor) -> Tensor:
    """[n] or [n, K] → float [n, N]: 1 where this process's row and one of all rows share a label, else 0."""
    rows = label.reshape(len(label), -1)  # [n, K]
    return (rows[:, None] == distributed.gather(rows)[None]).any(-1).float()


def _logits(rows: Tensor, columns: Tensor, scale: Tensor | float) -> Tensor:
    """[n, D], [N, D] → float32 [n, N]."""
    with torch.autocast(rows.device.type, enabled=False):
        return scale * (rows.float() @ columns.float().T)
