"""What importing the package costs."""

from __future__ import annotations

import subprocess
import sys

from tests.places import REPOSITORY


def test_importing_loads_only_what_every_user_needs() -> None:
    """No transport, image library, command line or framework is loaded before it is used."""
    program = (
        "import sys, babelclip\n"
        "heavy = {'torch', 'PIL', 'httpx', 'aiohttp', 'grpc', 'typer', 'rich', 'handlers'}\n"
        "heavy &= sys.modules.keys()\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(REPOSITORY / "clients")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_exists() -> None:
    """`from babelclip import *` works, and the list is kept in order."""
    import babelclip

    assert sorted(babelclip.__all__) == babelclip.__all__
    for name in babelclip.__all__:
        assert getattr(babelclip, name) is not None


def test_names_of_before_stand_for_one_more_release() -> None:
    """Programs written for the last release find its classes, under their old names and the new ones."""
    import babelclip

    assert babelclip.Answer is babelclip.Classification
    assert babelclip.Canary is babelclip.TrafficSplit
    assert babelclip.Canary("2.0", share=1.0).version_for("user") == "2.0"
