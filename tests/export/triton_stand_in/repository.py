"""A stand-in for Triton: a model repository read, checked as when Triton loads it, and run.

Python models run for real against the stand-in for their module, programs by onnxruntime, ensembles by their
steps. All requests of one call go through together, as when Triton has joined them.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import json_format, text_format
from numpy.typing import NDArray
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

STAND_IN = Path(__file__).parent
NUMPY = {
    "TYPE_STRING": np.dtype(object),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_UINT8": np.dtype(np.uint8),
    "TYPE_FP32": np.dtype(np.float32),
}
ONNX = {
    "TYPE_INT64": "tensor(int64)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_FP32": "tensor(float)",
}
Arrays = dict[str, NDArray[Any]]


class Refused(Exception):
    """The error that a request was answered with; `code` is Triton's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Repository:
    """The models of a folder by name; their configs as Triton's own message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configs = {
            path.parent.name: text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
            for path in folder.glob("*/config.pbtxt")
        }
        self.models: dict[str, Any] = {}
        for name, config in self.configs.items():
            assert config.name == name
            assert (folder / name / "1").is_dir()
            if config.backend == "python":
                self.models[name] = self._python_model(name, config)
            elif config.backend == "onnxruntime":
                self.models[name] = self._session(name, config)
        for config in self.configs.values():
            if config.platform == "ensemble":
                self._check_ensemble(config)

    def infer(self, name: str, requests: Sequence[Arrays]) -> list[Arrays | Refused]:
        """What each request is answered with, in order; its arrays are checked against the config."""
        config = self.configs[name]
        for request in requests:
            _check_arrays(config, config.input, request)
        if config.platform == "ensemble":
            answers = self._ensemble(config, requests)
        elif config.backend == "python":
            answers = self._python(name, requests)
        else:
            names = [entry.name for entry in config.output]
            runs = (self.models[name].run(names, request) for request in requests)
            answers = [dict(zip(names, found, strict=True)) for found in runs]
        for answer in answers:
            if not isinstance(answer, Refused):
                _check_arrays(config, config.output, answer)
        return answers

    def warmups(self, name: str) -> dict[str, Arrays]:
        """The warm-up samples of a model, by name, each of batch 1."""
        samples = {}
        for sample in self.configs[name].model_warmup:
            arrays = {}
            for key, entry in sample.inputs.items():
                dtype, shape = NUMPY[DataType.Name(entry.data_type)], (1, *entry.dims)
                if entry.zero_data:
                    arrays[key] = np.zeros(shape, dtype)
                else:
                    data = (self.folder / name / "warmup" / entry.input_data_file).read_bytes()
                    arrays[key] = np.frombuffer(data, dtype)[: np.prod(shape)].reshape(shape)
            samples[sample.name] = arrays
        return samples

    def _python_model(self, name: str, config: ModelConfig) -> Any:
        version = self.folder / name / "1"
        # As Triton does: the version folder comes after everything that is installed.
        added = [str(version), str(STAND_IN)]
        sys.path += added
        try:
            spec = importlib.util.spec_from_file_location(f"{name}.model", version / "model.py")
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        finally:
            for path in added:
                sys.path.remove(path)
        model = module.TritonPythonModel()
        text = json_format.MessageToJson(config, preserving_proto_field_name=True)
        model.initialize(
            {
                "model_config": text,
                "model_instance_kind": "CPU",
                "model_instance_device_id": "0",
                "model_repository": str(self.folder / name),
                "model_version": "1",
                "model_name": name,
            }
        )
        return model

    def _python(self, name: str, requests: Sequence[Arrays]) -> list[Arrays | Refused]:
        backend = sys.modules["triton_python_backend_utils"]
        given = [
            backend.InferenceRequest([backend.Tensor(key, array) for key, array in request.items()])
            for request in requests
        ]
        responses = self.models[name].execute(given)
        assert len(responses) == len(requests)
        return [
            Refused(response.error().message(), response.error().code())
            if response.error()
            else {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
            for response in responses
        ]

    def _ensemble(self, config: ModelConfig, requests: Sequence[Arrays]) -> list[Arrays | Refused]:
        pools: list[Arrays | Refused] = [dict(request) for request in requests]
        for step in config.ensemble_scheduling.step:
            alive = {at: pool for at, pool in enumerate(pools) if not isinstance(pool, Refused)}
            given = [{key: pool[name] for key, name in step.input_map.items()} for pool in alive.values()]
            for (at, pool), answer in zip(alive.items(), self.infer(step.model_name, given), strict=True):
                if isinstance(answer, Refused):
                    pools[at] = answer
                else:
                    pool.update({name: answer[key] for key, name in step.output_map.items()})
        names = [entry.name for entry in config.output]
        return [pool if isinstance(pool, Refused) else {name: pool[name] for name in names} for pool in pools]

    def _session(self, name: str, config: ModelConfig) -> onnxruntime.InferenceSession:
        """The program, whose inputs and outputs must be those of the config with the batch before them."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        path = self.folder / name / "1" / config.default_model_filename
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for entries, nodes in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
            declared = {
                entry.name: (ONNX[DataType.Name(entry.data_type)], list(entry.dims)) for entry in entries
            }
            free = {
                node.name: (node.type, [-1 if isinstance(side, str) else side for side in node.shape])
                for node in nodes
            }
            assert free == {key: (kind, [-1, *dims]) for key, (kind, dims) in declared.items()}
        return session

    def _check_ensemble(self, config: ModelConfig) -> None:
        """Every input of a step is fed by a tensor of its type and shape, and no step takes fewer rows."""
        tensors = {entry.name: _kind(entry) for entry in config.input}
        for step in config.ensemble_scheduling.step:
            part = self.configs[step.model_name]
            assert part.max_batch_size >= config.max_batch_size
            inputs = {entry.name: _kind(entry) for entry in part.input}
            assert inputs == {key: tensors[name] for key, name in step.input_map.items()}
            outputs = {entry.name: _kind(entry) for entry in part.output}
            tensors.update({name: outputs[key] for key, name in step.output_map.items()})
        for entry in config.output:
            assert tensors[entry.name] == _kind(entry)


def _kind(entry: Any) -> tuple[str, list[int]]:
    return DataType.Name(entry.data_type), list(entry.dims)


def _check_arrays(config: ModelConfig, entries: Sequence[Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Arrays are of the declared names, types and shapes, and of a batch that the model takes."""
    assert set(arrays) == {entry.name for entry in entries}
    for entry in entries:
        array, (kind, dims) = arrays[entry.name], _kind(entry)
        assert array.dtype == NUMPY[kind]
        assert 1 <= len(array) <= config.max_batch_size
        assert array.ndim == 1 + len(dims)
        assert all(side in (-1, found) for side, found in zip(dims, array.shape[1:], strict=True))
