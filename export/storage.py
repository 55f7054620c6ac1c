"""How an ONNX program stores its weights: float32, bfloat16, or matrices of 8-bit integers.

The arithmetic stays float32. bfloat16 weights are widened where they are used, rows of an embedding after
they were looked up, so that a runtime can map the table from the disk and read only the rows in use.
8-bit matrices become ONNX Runtime's MatMulNBits: integers with one scale for every 32 of a column, and
activations are quantised in blocks of a row, so no vector depends on its neighbours in a batch. 8-bit tables
have one scale per row, and the rows are widened after they were looked up, too.

All weights are converted one at a time, while the file is written.
"""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

SMALLEST = 1024  # elements; fewer are not worth a conversion
BLOCK = 32  # elements that share a scale
ACCURACY_LEVEL = 4  # of MatMulNBits: matmuls of 8-bit integers
ROWS = 65_536  # of a table that are converted at a time


def store(model: ir.Model, dtype: str) -> None:
    """Change, in place, the float32 weights of a model to `dtype`: float32, bfloat16 or int8."""
    if dtype == "float32":
        return
    graph = model.graph
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < SMALLEST:
            continue
        if dtype == "int8" and _only_in_matmuls(value):
            _quantise(graph, value, tensor)
        elif dtype == "int8" and _only_in_lookups(value):
            _quantise_table(graph, value, tensor)
        else:
            _narrow(graph, value, tensor)
    if dtype == "int8":
        graph.opset_imports["com.microsoft"] = 1


def write(model: ir.Model, path: Path) -> None:
    """The model as `path`, its weights beside it as `path`.data, from where runtimes map them."""
    ir.save(model, path, external_data=f"{path.name}.data")


def quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """[K, N] → integers uint8 [N, blocks, BLOCK] around 128, and their scales float32 [N, blocks].

    Symmetric: the largest element of a block becomes ±127. K is filled up with zeros to whole blocks.
    """
    columns = np.ascontiguousarray(matrix.T)
    columns = np.pad(columns, ((0, 0), (0, -columns.shape[1] % BLOCK)))
    blocks = columns.reshape(len(columns), -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    steps = blocks / np.where(scales == 0, np.float32(1), scales)[..., None]
    return (np.rint(steps) + 128).astype(np.uint8), scales


def quantised_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """[rows, width] → integers int8 of the same shape, and the scales of the rows, float32 [rows, 1].

    Symmetric: the largest element of a row becomes ±127.
    """
    integers = np.empty(table.shape, np.int8)
    scales = np.empty((len(table), 1), np.float32)
    for first in range(0, len(table), ROWS):
        rows = table[first : first + ROWS]
        largest = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
        integers[first : first + ROWS] = np.rint(rows / np.where(largest == 0, np.float32(1), largest))
        scales[first : first + ROWS] = largest
    return integers, scales


def _only_in_lookups(value: ir.Value) -> bool:
    """Whether it is a table [rows, width] whose rows are looked up, and nothing else."""
    shape = value.const_value.shape if value.const_value is not None else ()
    return len(shape) == 2 and all(_looks_up_rows(use.node, use.idx) for use in value.uses())


def _looks_up_rows(node: ir.Node, place: int) -> bool:
    axis = node.attributes.get("axis")
    return node.op_type == "Gather" and place == 0 and (axis is None or axis.as_int() == 0)


def _only_in_matmuls(value: ir.Value) -> bool:
    """Whether it is the right-hand matrix of matmuls, and nothing else."""
    shape = value.const_value.shape if value.const_value is not None else ()
    return len(shape) == 2 and all(use.node.op_type == "MatMul" and use.idx == 1 for use in value.uses())


def _lazy(
    name: str, like: Callable[[], NDArray[np.generic]], dtype: ir.DataType, shape: list[int]
) -> ir.Value:
    """An initializer that is computed when it is written, and not kept."""
    tensor = ir.LazyTensor(lambda: ir.Tensor(like(), name=name), dtype, ir.Shape(shape), name=name)
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape), const_value=tensor)


def _replace(graph: ir.Graph, old: ir.Value, *new: ir.Value) -> None:
    del graph.initializers[str(old.name)]
    for value in new:
        graph.register_initializer(value)


def _float_cast(value: ir.Value, name: str) -> ir.Node:
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value})
    cast.outputs[0].name = name
    cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    cast.outputs[0].shape = value.shape
    return cast


def _narrow(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Store a weight as bfloat16, and widen it where it is used."""
    narrow = _lazy(
        f"{value.name}.bfloat16",
        lambda: tensor.numpy().astype(ml_dtypes.bfloat16),
        ir.DataType.BFLOAT16,
        list(tensor.shape.numpy()),
    )
    uses = list(value.uses())
    for number, use in enumerate(uses):
        name = f"{value.name}.widened.{number}"
        if use.node.op_type == "Gather" and use.idx == 0:
            rows = use.node.outputs[0]
            users = list(rows.uses())
            use.node.replace_input_with(0, narrow)
            rows.type = ir.TensorType(ir.DataType.BFLOAT16)
            cast = _float_cast(rows, name)
            for user in users:
                user.node.replace_input_with(user.idx, cast.outputs[0])
            graph.insert_after(use.node, cast)
        else:
            cast = _float_cast(narrow, name)
            graph.insert_before(use.node, cast)
            use.node.replace_input_with(use.idx, cast.outputs[0])
    _replace(graph, value, narrow)


def _quantise(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Store the matrix [K, N] of a matmul as 8-bit integers with their scales."""
    k, n = tensor.shape.numpy()
    blocks = -(-k // BLOCK)
    integers = _lazy(
        f"{value.name}.int8", lambda: quantised(tensor.numpy())[0], ir.DataType.UINT8, [n, blocks, BLOCK]
    )
    scales = _lazy(
        f"{value.name}.scales", lambda: quantised(tensor.numpy())[1], ir.DataType.FLOAT, [n, blocks]
    )
    attributes = {"K": k, "N": n, "bits": 8, "block_size": BLOCK, "accuracy_level": ACCURACY_LEVEL}
    for use in list(value.uses()):
        product = ir.node(
            "MatMulNBits",
            [use.node.inputs[0], integers, scales],
            attributes,
            domain="com.microsoft",
        )
        old, new = use.node.outputs[0], product.outputs[0]
        new.name, new.type, new.shape = f"{old.name}.int8", old.type, old.shape
        graph.insert_before(use.node, product)
        old.replace_all_uses_with(new)
        graph.remove(use.node, safe=True)
    _replace(graph, value, integers, scales)


def _quantise_table(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Store a table [rows, width] as 8-bit integers with a scale per row, and widen what was looked up."""
    rows, width = tensor.shape.numpy()
    integers = _lazy(
        f"{value.name}.int8", lambda: quantised_rows(tensor.numpy())[0], ir.DataType.INT8, [rows, width]
    )
    scales = _lazy(
        f"{value.name}.scales", lambda: quantised_rows(tensor.numpy())[1], ir.DataType.FLOAT, [rows, 1]
    )
    for number, use in enumerate(list(value.uses())):
        lookup, found = use.node, use.node.outputs[0]
        users = list(found.uses())
        lookup.replace_input_with(0, integers)
        found.type = ir.TensorType(ir.DataType.INT8)
        cast = _float_cast(found, f"{value.name}.rows.{number}")
        scale = ir.node("Gather", [scales, lookup.inputs[1]], {"axis": 0})
        scale.outputs[0].name = f"{value.name}.scale.{number}"
        wide = ir.node("Mul", [cast.outputs[0], scale.outputs[0]])
        wide.outputs[0].name = f"{value.name}.widened.{number}"
        wide.outputs[0].type, wide.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), found.shape
        for user in users:
            user.node.replace_input_with(user.idx, wide.outputs[0])
        graph.insert_after(lookup, [cast, scale, wide])
    _replace(graph, value, integers, scales)
