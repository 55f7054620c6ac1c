"""Pickles of torch's: what training runs leave in them is read, and nothing that could run a program."""

import argparse
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files import pickles
from models.files.pickles import PickleError
from models.files.weights import read_state

NUMBERS = [np.dtype(code).type(1) for code in "?bBhHiIlLqQefd"]


def save(value: object, path: Path, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_the_numbers_of_numpy_that_a_schedule_leaves_are_read(legacy: bool, tmp_path: Path) -> None:
    """open_clip's cosine schedule stores its rate as a number of numpy's; a file of every age is read."""
    left = {"lr": NUMBERS, "epoch": np.int64(3), "state_dict": {"w": torch.arange(4.0)}}
    found = pickles.load(save(left, tmp_path / "epoch_3.pt", legacy=legacy), mmap=True)
    assert [(one.dtype, one) for one in found["lr"]] == [(one.dtype, one) for one in NUMBERS]
    assert torch.equal(found["state_dict"]["w"], torch.arange(4.0))


def test_numbers_of_numpy_1_are_read(tmp_path: Path) -> None:
    """numpy 1 wrote the same numbers under another name, in checkpoints of before 2024."""
    path = save({"lr": np.float64(0.1)}, tmp_path / "new.pt", legacy=True)
    old = tmp_path / "old.pt"
    old.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    assert old.read_bytes() != path.read_bytes()
    assert pickles.load(old) == {"lr": 0.1}


class Trap:
    """What runs a program when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.sprung),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("held", "named"),
    [
        (argparse.Namespace(lr=0.1), "it holds argparse.Namespace"),
        (Path("x"), "it holds pathlib.PosixPath"),
        (np.zeros(3), "multiarray._reconstruct"),
        (np.str_("x"), "it holds numpy.dtypes.StrDType"),
        (torch.nn.Linear(2, 2), "it holds torch.nn.modules.linear.Linear"),
    ],
)
def test_what_else_a_file_holds_is_named_in_one_plain_sentence(
    held: object, named: str, legacy: bool, tmp_path: Path
) -> None:
    """One line says what is in the way and what to do, with none of torch's options and colours."""
    path = save({"state_dict": {}, "args": held}, tmp_path / "epoch_1.pt", legacy=legacy)
    with pytest.raises(PickleError) as caught:
        pickles.load(path, mmap=True)
    said = str(caught.value)
    assert named in said
    assert said.endswith("save its state_dict alone")
    assert not {"\n", "\x1b"} & set(said)
    assert "weights_only" not in said


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_is_run(legacy: bool, tmp_path: Path) -> None:
    """A file that would run a program when it is unpickled does not."""
    path = save({"state_dict": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt", legacy=legacy)
    with pytest.raises(PickleError, match=r"it holds posix\.mkdir"):
        pickles.load(path)
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(PickleError):
        pickles.load(path)
    assert not (tmp_path / "sprung").exists()


def test_numbers_are_let_in_only_while_a_file_is_read(tmp_path: Path) -> None:
    """What torch lets in elsewhere in the process stays as it was."""
    before = set(torch.serialization.get_safe_globals())
    pickles.load(save({"lr": np.float64(0.1)}, tmp_path / "one.pt"))
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_program_is_told_from_weights(tmp_path: Path) -> None:
    """TorchScript comes under the same names as weights, and could do anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pt")
    with pytest.raises(PickleError, match="it is a TorchScript program"):
        pickles.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "it is empty"), (b"<html>", "no file that torch.save wrote")]
)
def test_what_is_no_pickle_at_all_is_said(content: bytes, says: str, tmp_path: Path) -> None:
    """An empty file and an error page in a model's place are called what they are."""
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(PickleError, match=says):
        pickles.load(tmp_path / "model.bin", mmap=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    held = {"lr": np.float64(0.1), "state_dict": {"w": torch.arange(4.0)}}
    return {legacy: save(held, folder / "one.pt", legacy=legacy).read_bytes() for legacy in (False, True)}


@given(legacy=st.booleans(), at=st.floats(0, 1), noise=st.binary(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    sound: dict[bool, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    legacy: bool,
    at: float,
    noise: bytes,
) -> None:
    """Whatever bytes are wrong, the complaint is one of ours and has one line."""
    whole = sound[legacy]
    place = int(at * len(whole))
    path = tmp_path_factory.mktemp("damaged") / "one.pt"
    for damaged in (whole[:place], whole[:place] + noise + whole[place + len(noise) :]):
        path.write_bytes(damaged)
        said = "read"
        try:
            pickles.load(path)
        except PickleError as error:
            said = str(error)
        assert said
        assert not {"\n", "\x1b"} & set(said)


def test_the_wrappers_of_a_training_run_are_taken_off_names(tmp_path: Path) -> None:
    """DDP and torch.compile put their own names before those of the weights, one or both."""
    state = {"module.a": 1, "_orig_mod.b": 2, "module._orig_mod.c": 3, "modules.d": 4}
    tensors = {"state_dict": {name: torch.tensor(value) for name, value in state.items()}}
    assert list(read_state(save(tensors, tmp_path / "epoch_1.pt"))) == ["a", "b", "c", "modules.d"]
