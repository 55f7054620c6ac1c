"""What a gateway imports before it listens."""

import subprocess
import sys

from tests.places import REPOSITORY


def test_a_start_imports_nothing_that_only_some_gateways_need() -> None:
    """What fetches images, keeps an index or traces comes with the setting that asks for it."""
    program = (
        "import sys, gateway.serve\n"
        "some = {'aiohttp', 'lancedb', 'opentelemetry', 'PIL', 'pyarrow', 'pymilvus', 'torch'}\n"
        "sys.exit(', '.join(sorted(some & sys.modules.keys())) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
