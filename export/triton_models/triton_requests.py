"""What both Python models share: their parameters, the items of a request, and the error of one.

A file of its own beside `model.py` in the version folder, which Triton's Python backend puts on the path.
"""

from __future__ import annotations  # pb_utils lacks its classes while Triton completes a config

import json
from collections.abc import Mapping

import triton_python_backend_utils as pb_utils

from handlers.errors import ItemError


def parameters(args: Mapping[str, str]) -> dict[str, str]:
    """What `initialize` is given → the `parameters` of the model's config.pbtxt."""
    config = json.loads(args["model_config"])
    return {key: value["string_value"] for key, value in config["parameters"].items()}


def items(request: pb_utils.InferenceRequest, name: str) -> list[bytes]:
    """The N byte strings of a TYPE_STRING input [N, 1]."""
    found: list[bytes] = pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1).tolist()
    return found


def refusal(faults: Mapping[int, ItemError], count: int) -> pb_utils.InferenceResponse:
    """The error of a request of `count` items of which some cannot be embedded, by their positions.

    Triton has a status for each request and none for its items, so the request fails with the code and the
    sentence of the first fault. Where it has more items, their positions, from 0, follow in brackets.
    """
    positions = sorted(faults)
    first = faults[positions[0]]
    message = str(first)
    if count > 1:
        which = ", ".join(map(str, positions))
        message += f" [item {positions[0]}; {len(positions)} of {count} fail: {which}]"
    error = pb_utils.TritonError
    code = error.INVALID_ARG if first.status < 500 else error.INTERNAL
    return pb_utils.InferenceResponse(output_tensors=[], error=error(message, code))
