"""What the command does before it imports the libraries of models, which takes seconds."""

import subprocess
import sys

import pytest

from tests.places import REPOSITORY

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from export.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--help"], 0, "--trim-vocab"),
        (["model", "--dtype", "int8", "--programs", "pt2"], 2, "int8 weights exist as onnx alone"),
        (["model", "--target", "triton", "--lean"], 2, "--lean and --if-needed are for archives"),
    ],
)
def test_help_and_a_wrong_option_need_no_library_of_models(words: list[str], status: int, says: str) -> None:
    """Whoever asks how it is used, or mistypes, is answered at once."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert says in done.stdout + done.stderr
