"""What a store may hold to be served."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from serving import LaunchError
from serving.spaces import read_spaces


def store_of(folder: Path, name: str) -> Path:
    """A store with one space, whose archives are called after `name`."""
    vector = base64.b64encode(np.ones(4, dtype="<f4").tobytes()).decode()
    canary = {"input": base64.b64encode(b"x").decode(), "vector": vector}
    entry = {"name": "mini", "space": "0" * 16, "version": "1.0", "default": True}
    entry["canary"] = {"min_cosine": 0.99, "text": canary, "vision": canary}
    for tower in ("text", "vision"):
        (folder / f"{name}-{tower}.mar").write_bytes(b"archive")
        entry[tower] = {"mar": f"{name}-{tower}.mar", "sha256": hashlib.sha256(b"archive").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "spaces": [entry]}))
    return folder


@pytest.mark.parametrize("name", ["mini", "mo dèl 模#1%20", "a=b"])
def test_an_archive_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Letters of any alphabet, spaces and signs."""
    (space,) = read_spaces(store_of(tmp_path, name))
    assert space.towers["text"].mar == f"{name}-text.mar"


def test_a_comma_in_a_name_is_a_sentence(tmp_path: Path) -> None:
    """TorchServe takes what comes after it for another archive."""
    with pytest.raises(LaunchError, match=r"a,b-text\.mar cannot be served: .*comma"):
        read_spaces(store_of(tmp_path, "a,b"))
