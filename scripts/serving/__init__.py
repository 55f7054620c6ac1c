"""What scripts/server.py is made of: settings, Java, the server's processes, and the spaces it serves."""

import sys
from pathlib import Path

# For `handlers.runtime.machine`: what the launcher takes for the cores must be what its workers take for
# them. At the end, so that nothing of the repository hides a package. TorchServe does not inherit it.
sys.path.append(str(Path(__file__).resolve().parents[2]))


class LaunchError(Exception):
    """The server cannot be started or did not become ready; the message is written for the operator."""
