"""Dual encoders: the modules, their one description, checkpoints, and public models from their own files.

`loaders` read what others publish, `files` what their folders hold; `checkpoint` is this project's own form.
Training and export start here; serving needs nothing of it.
"""

from models.torchvision_operators import declare_missing

declare_missing()
