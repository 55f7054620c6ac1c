import torch
import torch.nn.functional as F

from training.recipes.mini import losses


def test_contrastive_is_clips_loss_when_each_image_has_one_text() -> None:
    """Protects the loss from drifting away from Radford et al.'s symmetric cross-entropy."""
    image = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    text = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(2)), dim=1)
    label = torch.arange(6)
    logits = 10 * image @ text.T
    clip = (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2
    torch.testing.assert_close(losses.contrastive(image, text, label, label, torch.tensor(10.0)), clip)


def test_captions_of_one_thing_are_not_each_others_negatives() -> None:
    """Protects several captions of one image in a batch from being pushed apart."""
    image = torch.eye(2)
    text = torch.eye(2).repeat_interleave(2, 0)
    label, text_label = torch.arange(2), torch.tensor([0, 0, 1, 1])
    perfect = losses.contrastive(image, text, label, text_label, torch.tensor(100.0))
    # Two right answers of equal score cost the entropy of a fair coin, one way of two.
    torch.testing.assert_close(perfect, torch.log(torch.tensor(2.0)) / 2)
