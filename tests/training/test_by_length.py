"""Grouping texts by length must change nothing but the time it takes."""

import torch
from tokenizers import Tokenizer

from tests.miniature import make_model
from training.by_length import ByLength, by_length


def test_groups_of_like_length_give_the_same_vectors_in_order(words: Tokenizer) -> None:
    """Protects training on CPUs: rows, their order and their gradients are those of the whole batch."""
    tower = make_model(words).text.train()
    lengths = torch.tensor([3, 12, 1, 7, 16, 2, 2, 9, 5])
    mask = (torch.arange(16)[None, :] < lengths[:, None]).long()
    ids = torch.where(mask.bool(), torch.randint(4, words.get_vocab_size(), (9, 16)), 1)
    whole = tower(ids, mask)
    target = torch.randn_like(whole)
    (whole * target).sum().backward()
    gradients = [p.grad.clone() for p in tower.parameters() if p.grad is not None]
    tower.zero_grad()
    grouped = ByLength(tower)(ids, mask)
    torch.testing.assert_close(grouped, whole, atol=1e-5, rtol=1e-5)
    (grouped * target).sum().backward()
    found = [p.grad for p in tower.parameters() if p.grad is not None]
    torch.testing.assert_close(found, gradients, atol=1e-5, rtol=1e-4)


def test_accelerators_get_the_whole_batch(words: Tokenizer) -> None:
    """Protects HPU from shapes that depend on the data: only CPUs compute in groups."""
    tower = make_model(words).text
    assert by_length(tower, "hpu") is tower
    assert isinstance(by_length(tower, "cpu"), ByLength)
