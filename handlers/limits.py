"""What a tower takes unless its operator says otherwise, and what no operator can raise.

The settings of model-config.yaml (handlers.config), the export and the message of each refusal take these
figures from here. Where they must be repeated, because the place can import nothing (config.properties, the
client's wheel, the documentation), tests/repo/test_limits.py compares.
"""

from __future__ import annotations

MAX_ITEMS = 2048
"""Items of one request; OpenAI takes as many."""
MAX_RESPONSE_BYTES = 33_554_432
"""Bytes of one response. Above max_response_size of config.properties TorchServe kills the worker."""
MAX_TEXT_BYTES = 16_384
"""UTF-8 bytes of one text."""
MAX_IMAGE_BYTES = 20_000_000
"""Encoded bytes of one image."""
MAX_PIXELS = 50_000_000
"""Width × height that one image is decoded to."""
MAX_BATCH = 32
"""Rows of one forward pass."""
MAX_PASS_TOKENS = 4096
"""Tokens of one forward pass, padding included."""

LARGEST_MAX_PIXELS = 178_956_970
"""Pillow refuses to crop what has more than twice its MAX_IMAGE_PIXELS, so no limit of ours can exceed that.
An image of so many can take 7 GB."""
MAX_SIDE = 65_535
"""Pixels: the longest side a JPEG can have. A longer one in another format is no photograph, and decoding
costs by rows as well as by pixels."""
BYTES_PER_PIXEL = 40
"""Bytes that decoding takes for each pixel that is allowed, at most: of a progressive JPEG in CMYK, which has
four times as many, the coefficients that are held, and the reduced picture."""

RESPONSE_TIMEOUT = 120.0
"""Seconds: TorchServe's own responseTimeout, where model-config.yaml has none."""
