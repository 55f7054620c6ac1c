import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.datasets.folders import picture
from training.datasets.examples import Example, Examples, ImageFile
from training.datasets.loading import Batch, Loader, decoded
from training.datasets.order import Order
from training.datasets.rows import DataError

COUNT = 11


@pytest.fixture
def images(tmp_path: Path) -> Examples:
    """Eleven pictures with three captions each."""
    for number in range(COUNT):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    return Examples(
        Example(str(n), tuple(f"{n} {word}" for word in "abc"), ImageFile(str(tmp_path / f"{n}.jpg")), "en")
        for n in range(COUNT)
    )


def facts(batch: Batch) -> tuple[object, ...]:
    return batch.epoch, batch.step, batch.captions, batch.index.tolist(), batch.pixels.sum().item()


def an_epoch(loader: Loader) -> list[tuple[object, ...]]:
    return [facts(batch) for batch in loader.batches(until=1)]


@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 7),
    world=st.integers(1, 5),
    epoch=st.integers(0, 3),
    drop_last=st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_ranks_share_an_epoch(count: int, batch: int, world: int, epoch: int, drop_last: bool) -> None:
    """Protects an epoch from rows that are drawn twice or never, and ranks from unequal numbers of steps."""
    if drop_last and count < batch * world:
        with pytest.raises(ValueError, match="do not fill a step"):
            Order(count, batch, world=world, drop_last=True)
        return
    orders = [Order(count, batch, rank=rank, world=world, drop_last=drop_last) for rank in range(world)]
    ranks = [list(order.of_epoch(epoch)) for order in orders]
    assert {len(steps) for steps in ranks} == {orders[0].steps}
    drawn = Counter(draw.index for steps in ranks for step in steps for draw in step)
    assert set(drawn.values()) == {1}
    if drop_last:
        assert {len(step) for steps in ranks for step in steps} == {batch}
        assert len(drawn) == count - count % (batch * world)
    else:
        assert set(drawn) == set(range(count))
        last = [len(steps[-1]) for steps in ranks]
        assert max(last) - min(last) <= 1


def test_a_step_does_not_depend_on_the_number_of_ranks() -> None:
    """Protects a run that goes on with another number of ranks and the same rows a step."""
    alone = list(Order(50, 8, seed=3).of_epoch(1))
    together = [list(Order(50, 2, seed=3, rank=rank, world=4).of_epoch(1)) for rank in range(4)]
    for step, draws in enumerate(alone):
        assert {d.index for d in draws} == {d.index for rank in together for d in rank[step]}


def test_epochs_and_seeds_have_their_own_order() -> None:
    """Protects training from the same order in every epoch."""
    orders = [Order(50, 50, seed=seed).shuffled(epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(("batch", "rank", "world"), [(0, 0, 1), (1, 1, 1), (1, -1, 2)])
def test_an_impossible_order_is_refused(batch: int, rank: int, world: int) -> None:
    """Protects from a rank that draws nothing, or another's rows."""
    with pytest.raises(ValueError, match="rank below world"):
        Order(5, batch, rank=rank, world=world)


def test_an_epoch_of_batches(images: Examples) -> None:
    """Protects the pairs that training sees: each image once, its own pixels, one of its own captions."""
    loader = decoded(images, 16, batch=4, workers=0)
    batches = list(loader.batches(until=1))
    assert [(b.epoch, b.step, b.pixels.shape) for b in batches] == [
        (0, 0, (4, 16, 16, 3)),
        (0, 1, (4, 16, 16, 3)),
        (0, 2, (3, 16, 16, 3)),
    ]
    assert batches[0].pixels.dtype == torch.uint8
    assert sorted(index for b in batches for index in b.index.tolist()) == list(range(COUNT))
    for batch in batches:
        for caption, index in zip(batch.captions, batch.index.tolist(), strict=True):
            assert caption in images[index].captions
    assert loader.report() == f"0 broken of {COUNT} images drawn"


def test_captions_vary_over_epochs(images: Examples) -> None:
    """Protects the other captions of an image from never being drawn."""
    loader = decoded(images, 8, batch=COUNT, workers=0)
    drawn = {caption for batch in loader.batches(until=12) for caption in batch.captions}
    assert len(drawn) == 3 * COUNT


def test_a_resumed_run_sees_what_it_would_have_seen(images: Examples) -> None:
    """Protects exact resume: batches from a step on are those of the run that was never stopped."""
    loader = decoded(images, 8, batch=4, workers=0, seed=5)
    whole = [facts(batch) for batch in itertools.islice(loader.batches(), 8)]
    later = decoded(images, 8, batch=4, workers=0, seed=5).batches(epoch=1, step=1)
    assert [facts(batch) for batch in itertools.islice(later, 4)] == whole[4:]
    assert whole[4][:2] == (1, 1)


# Python 3.12 warns of every fork of a process with threads, which torch has.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_give_what_one_process_gives(images: Examples) -> None:
    """Protects results from the number of worker processes."""
    epochs = [an_epoch(decoded(images, 8, batch=3, workers=workers)) for workers in (0, 2, 9)]
    assert epochs[0] == epochs[1] == epochs[2]


def test_loading_leaves_the_runs_own_randomness_alone(images: Examples) -> None:
    """Protects dropout and the like from depending on how often a run was resumed."""
    before = torch.get_rng_state()
    an_epoch(decoded(images, 8, batch=3, workers=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_can_be_over_for_some_ranks(images: Examples) -> None:
    """Protects the last step of an epoch, in which a rank may have no row."""
    loader = decoded(images, 8, batch=2, workers=0, rank=1, world=2)
    batches = list(loader.batches(until=1))
    assert [len(batch.captions) for batch in batches] == [2, 2, 1]
    last = list(decoded(images.take(range(9)), 8, batch=2, workers=0, rank=1, world=2).batches(until=1))[-1]
    assert last.pixels.shape == (0, 8, 8, 3)


def test_broken_images_are_replaced_and_counted(images: Examples) -> None:
    """Protects batches from changing their shape, and broken files from being passed over silently."""
    Path(images[3].image.path).write_bytes(picture(3)[:500])
    Path(images[7].image.path).unlink()
    loader = decoded(images, 8, batch=COUNT, workers=0, max_broken_share=0.5)
    (batch,) = loader.batches(until=1)
    assert len(batch.captions) == COUNT
    assert not {3, 7} & set(batch.index.tolist())
    for caption, index in zip(batch.captions, batch.index.tolist(), strict=True):
        assert caption in images[index].captions
    assert loader.broken["image_truncated"] >= 1
    assert loader.broken["unreadable"] >= 1
    assert loader.drawn == COUNT + loader.broken.total()
    assert "7.jpg" in loader.report()
    (again,) = decoded(images, 8, batch=COUNT, workers=0, max_broken_share=0.5).batches(until=1)
    assert facts(again) == facts(batch)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_broken_images_end_the_run(images: Examples, workers: int) -> None:
    """Protects from training on what is left of a damaged data set."""
    Path(images[3].image.path).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"more than 1\.00% of the images are broken.*\n.*image_undecodable"):
        an_epoch(decoded(images, 8, batch=COUNT, workers=workers))
    for example in images:
        Path(example.image.path).write_bytes(b"")
    with pytest.raises(DataError, match=r"^17 images drawn one after another are broken"):
        an_epoch(decoded(images, 8, batch=COUNT, workers=workers, max_broken_share=1.0))


def test_large_images_are_broken_images(images: Examples) -> None:
    """Protects memory: the limits of bytes and of pixels hold in training too."""
    Path(images[0].image.path).write_bytes(b"\xff\xd8\xff" + bytes(200_000))
    Path(images[1].image.path).write_bytes(picture(1, side=600))
    limits: dict[str, Any] = {"max_broken_share": 1.0, "max_bytes": 150_000, "max_pixels": 200 * 200}
    loader = decoded(images, 8, batch=COUNT, workers=0, **limits)
    list(loader.batches(until=1))
    assert set(loader.broken) == {"image_too_many_bytes", "image_too_large"}


def test_there_is_no_step_beyond_an_epoch(images: Examples) -> None:
    """Protects from resuming with another batch size, which has other steps."""
    with pytest.raises(ValueError, match="no step 3 in epoch 0: an epoch has 3 steps"):
        next(decoded(images, 8, batch=4, workers=0).batches(step=3))
