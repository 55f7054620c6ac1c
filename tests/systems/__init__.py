"""The public systems, built by their own libraries: in small for the tests, at true size by `python -m`."""

import models  # noqa: F401  (before any import of transformers: see models.torchvision_operators)
