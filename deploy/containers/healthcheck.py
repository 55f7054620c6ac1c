"""Whether both towers give their golden items: exit status 0, or 1 with what the gateway says of it.

For HEALTHCHECK, run in the container that serves; the port and TLS are those of the gateway's settings there.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

# At the end, so that nothing of the repository hides a package.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from gateway.settings import read

CONFIG = Path("/etc/babelclip/gateway.toml")
SECONDS = 8.0


def main() -> int:
    """Ask once; return the exit status."""
    settings = read(CONFIG if CONFIG.exists() else None, os.environ)
    scheme = "https" if settings.tls_certificate else "http"
    # The certificate names the host that callers use; nothing is told here, and nothing believed but "ready".
    trust = ssl._create_unverified_context()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    try:
        with opener.open(f"{scheme}://127.0.0.1:{settings.port}/readyz", timeout=SECONDS):
            return 0
    except urllib.error.HTTPError as refusal:
        print(refusal.read().decode(errors="replace"))
    except OSError as problem:
        print(problem)
    return 1


if __name__ == "__main__":
    sys.exit(main())
