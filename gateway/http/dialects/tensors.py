"""The input tensors of the Open Inference Protocol's call → texts and images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babelclip import ItemError
from babelclip.errors import INVALID_UTF8
from gateway.embedding import Item
from gateway.errors import INVALID_ITEM, malformed
from gateway.http.dialects import images, items
from gateway.http.dialects.binary_tensors import read_elements
from gateway.http.dialects.dialect import check_count, field_of

INPUTS = ("text", "image")


@dataclass(frozen=True)
class Input:
    """A tensor of a request: `count` of its items from `start`."""

    name: str
    start: int
    count: int

    def named(self, index: int) -> str:
        """What the caller knows the request's item of that index by."""
        return f"{self.name}[{index - self.start}]"


def read_inputs(
    asked: Mapping[str, Any], behind: memoryview, max_items: int
) -> tuple[dict[str, Input], list[Item]]:
    """The `inputs` of a request, and the bytes behind its JSON → the inputs by name, and their items.

    Raises:
        ApiError: they are no inputs of this model, or contradict themselves.
    """
    inputs: dict[str, Input] = {}
    found: list[Item] = []
    for tensor in tensors_of(asked, "inputs"):
        name = name_of(tensor, INPUTS, inputs)
        count = _count(tensor, name)
        check_count(count, max_items, name)
        check_count(count + len(found), max_items, "inputs")
        inputs[name] = Input(name, len(found), count)
        size = _binary_size(tensor, name)
        if size is None:
            found += _of_json(tensor.get("data"), name, count)
            continue
        if size > len(behind):
            raise malformed(f'"{name}" has fewer bytes than its binary_data_size', name)
        found += _of_bytes(read_elements(behind[:size], count, name), name)
        behind = behind[size:]
    if not inputs:
        raise malformed('"inputs" must hold "text", "image" or both', "inputs")
    if len(behind):
        raise malformed("there are bytes behind the JSON that belong to no input", "inputs")
    return inputs, found


def tensors_of(asked: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    """The `inputs` or `outputs` of a request; none where they are absent.

    Raises:
        ApiError: they are no list of objects.
    """
    found = field_of(asked, which, list, "a list of tensors", [])
    if not all(isinstance(tensor, dict) for tensor in found):
        raise malformed(f'"{which}" must be a list of objects', which)
    return list(found)


def parameters_of(of: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request or a tensor; none where they are absent.

    Raises:
        ApiError: they are no object, or name what is not to be had.
    """
    found: dict[str, Any] = field_of(of, "parameters", dict, "an object", {})
    if "shared_memory_region" in found:
        raise malformed("tensors in shared memory are not taken; send their data", "parameters")
    return found


def name_of(tensor: Mapping[str, Any], allowed: tuple[str, ...], taken: Mapping[str, Any]) -> str:
    """The name of a tensor, which is one of the `allowed` ones and not yet `taken`.

    Raises:
        ApiError: it is not.
    """
    name = tensor.get("name")
    if not isinstance(name, str) or name not in allowed:
        raise malformed(f"a tensor's name must be one of {', '.join(allowed)}", "name")
    if name in taken:
        raise malformed(f'there are two tensors "{name}"', name)
    return name


def _count(tensor: Mapping[str, Any], name: str) -> int:
    if tensor.get("datatype") != "BYTES":
        raise malformed(f'the datatype of "{name}" must be BYTES', name)
    shape: list[Any] = field_of(tensor, "shape", list, "a list of whole numbers", [])
    whole = all(type(size) is int and size >= 0 for size in shape)
    if not whole or len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise malformed(f'the shape of "{name}" must be [N] or [N, 1]', name)
    return math.prod(shape)


def _binary_size(tensor: Mapping[str, Any], name: str) -> int | None:
    size = field_of(parameters_of(tensor), "binary_data_size", int, "a number of bytes", None)
    if size is None:
        return None
    if size < 0 or "data" in tensor:
        raise malformed(f'"{name}" must have either "data" or a binary_data_size of at least 0', name)
    return int(size)


def _of_json(data: Any, name: str, count: int) -> list[Item]:
    if isinstance(data, list) and any(isinstance(part, list) for part in data):  # [["a"], ["b"]] is [2, 1]
        data = [element for part in data for element in (part if isinstance(part, list) else [part])]
    if not isinstance(data, list) or len(data) != count:
        held = f"a list of {len(data):,}" if isinstance(data, list) else items.named(data)
        raise malformed(
            f'"data" of "{name}" must be a list of {count:,}, as its shape says, not {held}', name
        )
    return [_item(element, name) for element in data]


def _item(element: Any, name: str) -> Item:
    if not isinstance(element, str):
        return ItemError(0, INVALID_ITEM, f"an element must be a string, not {items.named(element)}")
    return images.read(element) if name == "image" else element


def _of_bytes(elements: list[bytes], name: str) -> list[Item]:
    return [element if name == "image" else _text(element) for element in elements]


def _text(element: bytes) -> Item:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return ItemError(0, INVALID_UTF8, "the text is not valid UTF-8")
