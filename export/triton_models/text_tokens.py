"""Texts → token ids, the first step of the text ensemble; run by Triton's Python backend.

    TEXT  TYPE_STRING [N, 1], UTF-8  →  ids, mask  TYPE_INT64 [N, L]    (mask: 1 = token, 0 = padding)

A text goes to the tokenizer as it came; one longer than the tower's token limit is cut to it, keeping the
final special token. L is the shortest length bucket that holds the longest text of the request, because the
tower's batcher joins only requests of equal shape.
"""

from __future__ import annotations  # pb_utils lacks its classes while Triton completes a config

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Encoding, Tokenizer
from triton_requests import items, parameters, refusal

from handlers.errors import INTERNAL, ItemError
from handlers.incidents import log_incident
from handlers.preprocess.texts import read_text


class TritonPythonModel:
    """The class that the Python backend looks for in model.py."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Reads tokenizer.json beside this file, and the parameters of config.pbtxt."""
        given = parameters(args)
        self.max_tokens = int(given["max_tokens"])
        self.max_bytes = int(given["max_text_bytes"])
        self.pad_id = int(given["pad_id"])
        self.buckets = [int(length) for length in given["buckets"].split()]
        self.tokenizer = Tokenizer.from_file(str(Path(__file__).with_name("tokenizer.json")))
        self.tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer.no_padding()

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """One response for each request, in their order: ids and mask, or the error of that request."""
        return [self._respond(items(request, "TEXT")) for request in requests]

    def _respond(self, payloads: list[bytes]) -> pb_utils.InferenceResponse:
        encodings: list[Encoding] = []
        faults: dict[int, ItemError] = {}
        for position, payload in enumerate(payloads):
            try:
                encodings.append(self._tokenise(read_text(payload, max_bytes=self.max_bytes)))
            except ItemError as fault:
                faults[position] = fault
        if faults:
            return refusal(faults, len(payloads))
        longest = max(len(encoding) for encoding in encodings)
        length = next(size for size in self.buckets if size >= longest)
        ids = np.full((len(encodings), length), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        return pb_utils.InferenceResponse([pb_utils.Tensor("ids", ids), pb_utils.Tensor("mask", mask)])

    def _tokenise(self, text: str) -> Encoding:
        try:
            return self.tokenizer.encode(text)
        except BaseException as error:  # A panic in the tokenizer's Rust code is no Exception.
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            raise ItemError(INTERNAL, log_incident("tokenising", error)) from error
