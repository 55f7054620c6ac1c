"""Contrastive losses over unit vectors, with any number of right answers a row."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive(
    image: Tensor, text: Tensor, image_label: Tensor, text_label: Tensor, scale: Tensor
) -> Tensor:
    """Symmetric cross-entropy between images [I, D] and texts [T, D] of labels [I] and [T].

    CLIP's loss (Radford et al. 2021), except that every text of an image's label counts as right, in equal
    shares: several captions of one thing in a batch must not be each other's negatives.
    """
    logits = scale * image @ text.T  # [I, T]
    same = (image_label[:, None] == text_label[None, :]).float()
    by_image = F.cross_entropy(logits, same / same.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, (same / same.sum(0, keepdim=True)).T)
    return (by_image + by_text) / 2


def to_anchors(embedding: Tensor, anchors: Tensor, label: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of embeddings [N, D] against one vector a label, anchors [C, D] of any length."""
    return F.cross_entropy(scale * embedding @ F.normalize(anchors, dim=-1).T, label)


def among_images(image: Tensor, label: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of images [N, D] against one another, those of one label [N] being right in equal shares.

    Supervised contrastive learning (Khosla et al. 2020). Each image needs another of its label.
    """
    own = torch.eye(len(label), dtype=torch.bool, device=label.device)
    logits = (scale * image @ image.T).masked_fill(own, -1e4)  # not −inf, of which 0 shares would be NaN
    same = ((label[:, None] == label[None, :]) & ~own).float()
    return F.cross_entropy(logits, same / same.sum(1, keepdim=True))
