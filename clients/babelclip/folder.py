"""The images of a folder, found by their names."""

from __future__ import annotations

import os
from pathlib import Path

# The formats that the vision tower decodes.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def find_images(folder: Path) -> list[Path]:
    """Every file below `folder` with the suffix of an image, sorted by path.

    Hidden files and folders are left out, and links to folders are not followed, so a link that leads back up
    ends nothing. What is no image after all shows when it is embedded.

    Raises:
        OSError: `folder` itself cannot be listed. Folders below it that cannot are left out.
    """
    os.listdir(folder)  # os.walk would take an unreadable or missing folder for an empty one.
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += (
            Path(parent, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        )
    return sorted(found)
