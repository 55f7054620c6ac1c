"""ONNX Runtime and OpenVINO, imported without their telemetry.

By default ONNX Runtime (since 1.29) and OpenVINO report the process and its models to their makers, and keep
an identifier of the machine in the home folder. ONNX Runtime's telemetry also has threads, because of which a
forked process never ends.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module `onnxruntime`; ORT_DISABLE_TELEMETRY=0 in the environment leaves its telemetry on.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def import_openvino() -> Any:
    """The module `openvino`.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    modules: dict[str, Any] = sys.modules
    if _TELEMETRY in modules:  # Whoever imported it has decided for it.
        return importlib.import_module("openvino")
    # To Python a package of None is not installed, and OpenVINO works without it.
    modules[_TELEMETRY] = None
    try:
        return importlib.import_module("openvino")
    finally:
        del modules[_TELEMETRY]
