"""Triton's Python backend in place of its ONNX Runtime backend: a model.py for tests.

It runs program.onnx by the library that the other backend is made of, and logs how many rows each pass had.
"""

from __future__ import annotations  # pb_utils lacks its classes while Triton completes a config

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: Mapping[str, str]) -> None:
        config = json.loads(args["model_config"])
        self.inputs = [entry["name"] for entry in config["input"]]
        program = str(Path(__file__).with_name("program.onnx"))
        self.session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        given = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self.inputs
        }
        arrays = {name: np.concatenate(parts) for name, parts in given.items()}
        vectors = self.session.run(["vectors"], arrays)[0]
        print(f"pass of {len(vectors)} rows", flush=True)
        ends = np.cumsum([len(part) for part in given[self.inputs[0]]])[:-1]
        parts = np.split(vectors, ends)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("vectors", part)]) for part in parts]
