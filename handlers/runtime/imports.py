"""ONNX Runtime and OpenVINO, imported so that they report to nobody.

As they come, ONNX Runtime (since 1.29) and OpenVINO tell their makers about the process and its models, and
keep an identifier of the machine in the home folder. ONNX Runtime's reports have threads, too, over which a
forked process never ends.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

_REPORTS = "openvino_telemetry"


def import_onnxruntime() -> Any:
    """The module `onnxruntime`; who sets ORT_DISABLE_TELEMETRY to 0 has it as it comes.

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
    if _REPORTS in modules:  # Whoever imported it has decided.
        return importlib.import_module("openvino")
    # To Python this is a package that is not installed, and OpenVINO can do without it.
    modules[_REPORTS] = None
    try:
        return importlib.import_module("openvino")
    finally:
        del modules[_REPORTS]
