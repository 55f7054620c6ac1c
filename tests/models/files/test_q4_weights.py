"""The 4-bit weight file: what is read of it, and what is said of broken ones."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files import q4_weights
from models.files.weights import CheckpointError
from tests.models import q4_files

WHOLE = q4_files.content()


def test_sizes_vocabulary_and_tensors_are_read(tmp_path: Path) -> None:
    """Protects the layout: every part comes back as it was written, weights to half a step of their block."""
    found = q4_weights.read(q4_files.write(tmp_path))
    assert found.sizes == q4_weights.Sizes(
        q4_files.WIDTH, q4_files.LAYERS, q4_files.HEADS, q4_files.INNER, q4_files.VOCABULARY, q4_files.PLACES,
        q4_files.TYPES, 1e-12,
    )  # fmt: skip
    assert [piece for piece, _ in found.vocabulary.pieces] == q4_files.PIECES
    assert found.vocabulary.pieces[0][1] == -1
    assert (found.vocabulary.begin, found.vocabulary.padding) == (0, 1)
    assert found.vocabulary.normalized == q4_files.NORMALIZED
    for name, values in q4_files.tensors().items():
        stored = found.tensors[name].numpy()
        if not q4_files.is_quantized(name):
            assert np.array_equal(stored, values.reshape(-1))
            continue
        blocks, written = stored.reshape(-1, 32), values.reshape(-1, 32)
        step = np.abs(written).max(1, keepdims=True) / 8
        # The largest of one sign has eight steps, of the other seven: there it may miss by a whole one.
        assert (np.abs(blocks - written) <= 1.01 * step).all()
        assert np.abs(blocks - written).mean() < step.mean() / 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin|ends within"),
        (b"E5S2" + WHOLE[4:], "does not begin as a 4-bit weight file of version 1"),
        (WHOLE[:4] + struct.pack("<I", 2) + WHOLE[8:], "does not begin as a 4-bit weight file of version 1"),
        (WHOLE[:60], "ends within its header"),
        (WHOLE[:-1], r"ends within l1\.fo\.b"),
        (q4_files.content(sizes=(32, 2, 3, 64, 16, 40, 2)), "32 dimensions cannot be shared by 3 heads"),
        (q4_files.content(sizes=(32, 2, 4, 64, 5, 40, 2)), "has 15 pieces and rows for 5"),
        (q4_files.content(sizes=(-1, 2, 4, 64, 16, 40, 2)), "the hidden size is -1"),
        (q4_files.content(special=(0, 2, 99, 3)), "names the piece 99 and has 15"),
        (q4_files.content(pieces=[*q4_files.PIECES[:-1], "k"]), "has a piece twice"),
        (
            q4_files.content({"emb.pos": np.full((2, 2), np.nan, np.float32)}),
            "emb.pos has a value that is no",
        ),
    ],
)
def test_what_is_wrong_is_named(data: bytes, says: str, tmp_path: Path) -> None:
    """Protects from vectors of a half-read file: each fault is one sentence with the file's name."""
    path = tmp_path / "e5-small-q4.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=says) as caught:
        q4_weights.read(path)
    assert str(path) in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    at=st.integers(0, len(WHOLE) - 1), value=st.binary(min_size=1, max_size=8), cut=st.integers(0, len(WHOLE))
)
def test_any_bytes_are_a_file_or_refused(
    at: int, value: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Protects the parser: bytes that were changed or cut anywhere are read or refused, nothing else."""
    path = tmp_path_factory.getbasetemp() / "changed.bin"
    path.write_bytes((WHOLE[:at] + value + WHOLE[at + len(value) :])[: max(cut, at)])
    with contextlib.suppress(CheckpointError):
        q4_weights.read(path)
