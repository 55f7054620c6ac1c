"""Encoded images → pixels, the first step of the vision ensemble; run by Triton's Python backend.

    IMAGE  TYPE_STRING [N, 1], encoded bytes  →  pixels  TYPE_UINT8 [N, S, S, 3]

The folder `handlers` beside this file holds a copy of the preprocessing that training, export and TorchServe
use, so an image has the same pixels, and a broken one the same error, wherever it is served.
"""

from __future__ import annotations  # pb_utils lacks its classes while Triton completes a config

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import triton_python_backend_utils as pb_utils
from triton_requests import items, parameters, refusal

from handlers.errors import INTERNAL, ItemError
from handlers.incidents import log_incident
from handlers.preprocess.image_files import supported_formats
from handlers.preprocess.reference import Pixels, Resize, decode_image
from handlers.runtime.machine import usable_cores


class TritonPythonModel:
    """The class that the Python backend looks for in model.py."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Reads the parameters of config.pbtxt and loads the decoders."""
        given = parameters(args)
        self.size, self.resize = int(given["size"]), cast(Resize, given["resize"])
        self.max_pixels = int(given["max_pixels"])
        self.max_bytes = int(given["max_image_bytes"])
        self.pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        supported_formats()

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """One response for each request, in their order: pixels, or the error of that request."""
        decoding = [
            [self.pool.submit(self._decode, data) for data in items(request, "IMAGE")] for request in requests
        ]
        return [self._respond([future.result() for future in futures]) for futures in decoding]

    def finalize(self) -> None:
        """Called when the model is unloaded."""
        self.pool.shutdown()

    def _respond(self, decoded: list[Pixels | ItemError]) -> pb_utils.InferenceResponse:
        faults = {at: found for at, found in enumerate(decoded) if isinstance(found, ItemError)}
        if faults:
            return refusal(faults, len(decoded))
        pixels = np.stack([found for found in decoded if not isinstance(found, ItemError)])
        return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])

    def _decode(self, data: bytes) -> Pixels | ItemError:
        try:
            return decode_image(
                data,
                size=self.size,
                resize=self.resize,
                max_pixels=self.max_pixels,
                max_bytes=self.max_bytes,
            )
        except ItemError as fault:
            return fault
        except Exception as error:
            return ItemError(INTERNAL, log_incident("decoding", error))
