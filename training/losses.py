"""Contrastive losses over unit vectors, with any number of right answers a row."""

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


def to_anchors(embedding: Tensor, anchors: Tensor, label: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of embeddings [N, D] against one vector a label, anchors [C, D] of any length."""
    return F.cross_entropy(scale * embedding @ F.normalize(anchors, dim=-1).T, label)
