import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.modules import BabelCLIP, Memory, ModelConfig
from training.recipes.mini import data


def test_padding_never_changes_a_text_vector(small_model: BabelCLIP) -> None:
    """Protects served vectors from depending on what else shares their batch."""
    ids, mask = data.pad([[5, 6, 7]], 16)
    wide_ids, wide_mask = data.pad([[5, 6, 7], list(range(5, 17))], 16)
    with torch.no_grad():
        alone, together = small_model.text(ids, mask)[0], small_model.text(wide_ids, wide_mask)[0]
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


def test_vectors_are_unit_length(small_model: BabelCLIP) -> None:
    """Protects the meaning of a dot product as a cosine."""
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    ids, mask = data.pad([[5], [6, 7]], 16)
    with torch.no_grad():
        rows = torch.cat([small_model.vision(pixels), small_model.text(ids, mask)])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5))


def test_a_memory_adds_the_mean_of_what_it_attends_to() -> None:
    """Protects what a text with a memory means: cosines, their softmax, the mean under it, and the query."""
    memory = Memory(2, 2, scale=3.0)
    memory.vectors.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = memory(torch.tensor([[2.0, 0.0]]))  # a query of any length
    e3 = torch.exp(torch.tensor(3.0))
    mean = torch.tensor([e3 / (e3 + 1), 1 / (e3 + 1)])
    expected = torch.tensor([1.0, 0.0]) + mean / mean.norm()
    torch.testing.assert_close(found[0], expected)


def queries(model: BabelCLIP, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the memory is asked with."""
    return F.normalize(model.text.projection(model.text.pooled(ids, mask)), dim=-1)


def test_an_empty_memory_changes_no_text(small_model: BabelCLIP) -> None:
    """Protects models whose memory is not written yet, as after the first stage."""
    ids, mask = data.pad([[5], [6, 7]], 16)
    with torch.no_grad():
        assert not torch.equal(small_model.text(ids, mask), queries(small_model, ids, mask))
        small_model.text.get_parameter("memory.vectors").zero_()
        torch.testing.assert_close(small_model.text(ids, mask), queries(small_model, ids, mask))


def test_vision_takes_smaller_images_in_training(small_model: BabelCLIP) -> None:
    """Protects the cheap first steps of training, which show the tower images of half the side."""
    with torch.no_grad():
        assert small_model.vision(torch.zeros(2, 16, 16, 3)).shape == (2, 16)


def test_config_survives_json(small_model: BabelCLIP) -> None:
    """Protects checkpoints from coming back as another architecture."""
    assert ModelConfig.from_json(small_model.architecture.to_json()) == small_model.architecture


@given(st.lists(st.lists(st.integers(4, 99), max_size=40), min_size=1, max_size=5))
def test_pad_keeps_ends_and_cuts_to_the_limit(rows: list[list[int]]) -> None:
    """Protects every text from losing its </s>, or the model from more tokens than it has positions for."""
    ids, mask = data.pad(rows, 16)
    assert ids.shape == mask.shape
    assert ids.shape[1] <= 16
    for row, row_ids, row_mask in zip(rows, ids.tolist(), mask.tolist(), strict=True):
        used = sum(row_mask)
        assert used == min(len(row), 14) + 2
        assert row_ids[:used] == [0, *row[:14], 2]
        assert set(row_ids[used:]) <= {1}
