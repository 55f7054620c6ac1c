"""The git revision that trains."""

import subprocess
from pathlib import Path


def revision() -> str:
    """As git describes it, marked when files differ from it; "unknown" outside a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.strip() or "unknown"
