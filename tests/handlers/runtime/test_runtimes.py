"""The runtimes behind the runner: which are tried where, that the fastest stays, that all agree."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import openvino
import pytest
import torch

from handlers.runtime import device, runtimes
from handlers.runtime.device import RUNTIMES
from tests.handlers.conftest import SIZE
from tests.handlers.runtime.test_device import CPU, candidates, runner


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with native bfloat16."""
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: True)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without it."""
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: False)


def names(**changes: Any) -> list[str]:
    return [placement.runtime for placement in candidates(**changes)]


def test_float32_on_a_cpu_goes_to_onnxruntime(plain: None) -> None:
    """ONNX Runtime is taken in float32 on CPUs, untried; without an ONNX program torch takes its place."""
    assert names() == ["onnxruntime"]
    assert names(forms=("pt2",)) == ["torch"]
    assert names(program_dtype="bfloat16") == ["onnxruntime"]
    assert names(compile=True) == ["torch"]


def test_bfloat16_on_a_cpu_is_tried_out(amx: None) -> None:
    """Where the CPU has native bfloat16, OpenVINO and torch are both candidates; float32 can be forced."""
    tried = candidates()
    assert [placement.runtime for placement in tried] == ["openvino", "torch"]
    assert {placement.dtype for placement in tried} == {"bfloat16"}
    assert names(dtype="float32") == ["onnxruntime"]
    assert names(forms=("onnx",)) == ["openvino"]


def test_accelerators_run_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU gets the torch program, and an archive without one says so."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert names(gpu_id=0) == ["torch"]
    with pytest.raises(RuntimeError, match="pt2"):
        names(gpu_id=0, forms=("onnx",))
    with pytest.raises(ValueError, match="onnxruntime is for CPUs"):
        names(gpu_id=0, runtime="onnxruntime")


def test_a_missing_package_is_named(plain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that was asked for and is not installed stops the load; unasked, the next one is taken."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnxruntime" else find(name, *more)
    )
    with pytest.raises(RuntimeError, match="onnxruntime is missing"):
        names(runtime="onnxruntime")
    assert names() == ["torch"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_agree(runtime: str, vision_folder: Path) -> None:
    """Every runtime gives torch's float32 vectors, for any number of rows."""
    other = runner(vision_folder, dataclasses.replace(CPU, runtime=runtime))
    assert other.placement.runtime == runtime
    exact = runner(vision_folder, CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    for rows in (1, 3, 4):
        np.testing.assert_allclose(other(pixels[:rows]), exact(pixels[:rows]), atol=1e-5)


@pytest.mark.parametrize("turned", [False, True], ids=["as stored", "transposed"])
def test_openvino_multiplies_by_bfloat16_weights_as_stored(tmp_path: Path, turned: bool) -> None:
    """Stored weights are not widened, which cost three times their memory; the product stays the same."""
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((5, 8) if turned else (8, 5)).astype(ml_dtypes.bfloat16)
    nodes = [onnx.helper.make_node("Cast", ["w"], ["wide"], to=onnx.TensorProto.FLOAT)]
    if turned:
        nodes.append(onnx.helper.make_node("Transpose", ["wide"], ["turned"], perm=[1, 0]))
    nodes.append(onnx.helper.make_node("MatMul", ["x", "turned" if turned else "wide"], ["y"]))
    stored = onnx.helper.make_tensor(
        "w", onnx.TensorProto.BFLOAT16, weights.shape, weights.tobytes(), raw=True
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "product",
        [value("x", onnx.TensorProto.FLOAT, ["rows", 8])],
        [value("y", onnx.TensorProto.FLOAT, ["rows", 5])],
        [stored],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "program.onnx")

    core = openvino.Core()
    model = core.read_model(str(tmp_path / "program.onnx"))
    assert runtimes.use_bf16_matmuls(model) == 1
    kinds = [
        product.input_value(1).get_element_type().get_type_name()
        for product in model.get_ordered_ops()
        if product.get_type_name() == "MatMul"
    ]
    assert kinds == ["bf16"]
    x = generator.standard_normal((3, 8)).astype(np.float32)
    (found,) = core.compile_model(model, "CPU")({"x": x}).values()
    wide = weights.astype(np.float32)
    # Its input is rounded to bfloat16, which has 8 bits.
    np.testing.assert_allclose(found, x @ (wide.T if turned else wide), atol=0.1)
    assert runtimes.use_bf16_matmuls(model) == 0
