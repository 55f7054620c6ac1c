"""Where an export writes to: places that cannot be written, and disks without links."""

import os
import sys
from pathlib import Path

import pytest

from export import archive, command
from export.__main__ import main
from tests.places import MINI


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--store", "file/store"], "--store"),
        (["--target", "triton", "--repository", "file/r"], "--repository"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], named: str
) -> None:
    """Not after the minutes of an export, and with the option that leads elsewhere."""
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["export", str(MINI), *options])
    with pytest.raises(SystemExit, match=rf"^export: .* cannot be written: .* {named}$"):
        main()


def test_a_disk_that_is_full_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says, and no stack trace."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "program.onnx")

    monkeypatch.setattr(command, "export", full)
    monkeypatch.setattr(sys, "argv", ["export", str(MINI), "--store", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"export: .*No space left on device.*program\.onnx"):
        main()


def test_a_disk_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT, and some folders that a virtual machine shares with its host, have no second names of a file."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "program").write_bytes(b"weights")
    archive._place(tmp_path / "program", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "program")
    monkeypatch.setattr(os, "link", refuse)
    archive._place(tmp_path / "program", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"weights"
    assert not (tmp_path / "copied").samefile(tmp_path / "program")
