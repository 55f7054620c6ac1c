"""Classifier heads: what they say of images, and the files that they are kept in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Calibration, ClassifierHead, Embeddings, ItemError, SpaceMismatch, read_head
from babelclip.search.head import head_from

SPACE = "0123456789abcdef"
CALIBRATION = Calibration(SPACE, slope=20.0, offset=-10.0, pairs=100, others=0.1)


def head(calibration: Calibration | None = CALIBRATION, **other: Any) -> ClassifierHead:
    """Cats lie along the first axis, dogs along the second."""
    parts: dict[str, Any] = {
        "labels": ("chat", "いぬ"),
        "space": SPACE,
        "weight": np.array([[5, -5, 0], [-5, 5, 0]], np.float32),
        "bias": np.array([0.5, -0.5], np.float32),
        "means": np.eye(3, dtype=np.float32)[:2],
        "about": {"images": 40},
    }
    return ClassifierHead(**{**parts, **other}, calibration=calibration)


def images(*rows: list[float], space: str = SPACE, errors: tuple[ItemError, ...] = ()) -> Embeddings:
    vectors = np.array(rows, np.float32)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return Embeddings(vectors / lengths, space, 10.0, errors)


def test_the_best_logit_is_the_label() -> None:
    """Protects labels and probabilities: the softmax of weight · vector + bias."""
    cat, dog = head().classify(images([1, 0.1, 0], [0, 1, 0]))
    assert (cat.label, dog.label) == ("chat", "いぬ")
    assert dog.probability == pytest.approx(1 / (1 + np.exp(-9.0)))
    assert dog.probabilities["chat"] == pytest.approx(1 - dog.probability)
    assert dog.cosines == pytest.approx({"chat": 0.0, "いぬ": 1.0})


def test_what_resembles_no_class_has_no_label() -> None:
    """Protects "no match": it is the cosine with the class's mean that says whether there is one."""
    far = images([0.3, 0.1, 1])
    (found,) = head().classify(far)
    assert (found.label, found.best) == (None, "chat")
    assert found.match is not None
    assert found.match < 0.1 < 0.5 < found.probability
    assert head().classify(far, threshold=0.0)[0].label == "chat"
    (always,) = head(calibration=None).classify(far)
    assert (always.label, always.match) == ("chat", None)
    with pytest.raises(ValueError, match="from 0 to 1"):
        head().classify(far, threshold=2)


def test_a_failed_image_has_its_error_and_costs_no_other() -> None:
    """Protects the rest of a folder from one broken file; also where none of them has a vector."""
    broken = ItemError(0, "image_undecodable", "it is broken")
    bad, good = head().classify(images([0, 0, 0], [1, 0, 0], errors=(broken,)))
    assert (bad.error, bad.label, good.label) == (broken, None, "chat")
    nothing = Embeddings(np.zeros((1, 0), np.float32), "", 1.0, (broken,))
    assert head().classify(nothing)[0].error == broken


def test_vectors_of_another_space_are_refused() -> None:
    """Protects from labels that mean nothing, after a change of model."""
    with pytest.raises(
        SpaceMismatch, match="trained on vectors of the space 0123456789abcdef, these are of x"
    ):
        head().classify(images([1, 0, 0], space="x"))


def test_a_file_is_the_same_head(tmp_path: Path) -> None:
    """Protects a head from being changed by its file, which the library of safetensors reads as well."""
    path = tmp_path / "head.safetensors"
    head().save(path)
    found = read_head(path)
    for name in ("labels", "space", "calibration", "about"):
        assert getattr(found, name) == getattr(head(), name)
    for name in ("weight", "bias", "means"):
        np.testing.assert_array_equal(getattr(found, name), getattr(head(), name))
    head(calibration=None).save(path)
    assert read_head(path).calibration is None
    numpy_files = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    loaded = numpy_files.load_file(path)
    np.testing.assert_array_equal(loaded["weight"], head().weight)
    assert set(loaded) == {"weight", "bias", "means"}


def saved(tmp_path: Path) -> bytes:
    head().save(tmp_path / "one.safetensors")
    return (tmp_path / "one.safetensors").read_bytes()


def changed(data: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """The file after `change` of its header and of what stands in the metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["babelclip"])
    change(header, meta)
    if "__metadata__" in header:
        header["__metadata__"] = {"babelclip": json.dumps(meta)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header, meta: header.pop("__metadata__"), "it has no '__metadata__'"),
        (lambda header, meta: header.pop("bias"), "its tensors are weight, means"),
        (lambda header, meta: header["bias"].update(dtype="F16"), "bias must be float32"),
        (lambda header, meta: header["bias"].update(shape=[3]), "8 bytes for the shape"),
        (lambda header, meta: header["bias"].update(shape=[-2]), "outside of the file"),
        (lambda header, meta: header["bias"].update(data_offsets=[0, 10**9]), "outside of the file"),
        (lambda header, meta: header["bias"].update(data_offsets=[True, 9]), "outside of the file"),
        (lambda header, meta: meta.update(format=2), "its format is 2, not 1"),
        (lambda header, meta: meta.update(labels=["a"]), "at least two labels"),
        (lambda header, meta: meta.update(labels=["a", "a"]), "each of which stands once"),
        (lambda header, meta: meta.update(labels=["a", "b", "c"]), "must have the shape"),
        (lambda header, meta: meta.update(labels="ab"), "must be a list of texts"),
        (lambda header, meta: meta.update(space=""), "the space that it was trained on"),
        (lambda header, meta: meta["calibration"].update(space="x"), "its calibration is of the space x"),
        (lambda header, meta: meta["calibration"].update(slope="nan"), "not finite"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_fault(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object], says: str
) -> None:
    """Protects from a head that would classify at random: every part of the file is checked."""
    path = tmp_path / "head.safetensors"
    path.write_bytes(changed(saved(tmp_path), change))
    with pytest.raises(ValueError, match=f"is no classifier head: .*{says}"):
        read_head(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """Protects labels from a NaN, which is no less than anything."""
    with pytest.raises(ValueError, match="the numbers of bias are not finite"):
        head(bias=np.array([np.nan, 0], np.float32))
    data = bytearray(saved(tmp_path))
    data[-4:] = np.float32(np.inf).tobytes()
    with pytest.raises(ValueError, match="means are not finite"):
        head_from(bytes(data))


@given(data=st.binary(max_size=200), at=st.integers(0, 600), cut=st.integers(0, 700))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_head_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, cut: int
) -> None:
    """Protects a program from a crash by a file that is broken, cut, or no head at all."""
    whole = saved(tmp_path_factory.getbasetemp())
    for body in (
        data,
        whole[:at] + data + whole[at:],
        whole[:cut],
        whole[:at] + data + whole[at + len(data) :],
    ):
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            assert len(head_from(body).labels) >= 2
