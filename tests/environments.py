"""Environments that hold what they are told to and nothing else: what is not declared is missed in them."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make_environment(folder: Path, requirements: Iterable[str]) -> Path:
    """An environment in `folder` with the packages of `requirements`, and those that these require; no pip.

    Its packages are links to those of this environment, which has them by the same pins: pip would take
    minutes to unpack them again. Returns its Python.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for package in _required(requirements):
        for file in package.files or ():
            if ".." in file.parts:  # A command, which would start the Python of this environment.
                continue
            link = site / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(link):  # Packages of one name space may share a file.
                os.symlink(str(package.locate_file(file)), link)
    return folder / "bin" / "python"


def _required(requirements: Iterable[str]) -> Iterable[Distribution]:
    """What these requirements take, as the metadata of each package has it, and as it is installed here."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        package = found.setdefault(name, distribution(name))
        assert requirement.specifier.contains(package.version, prereleases=True), (
            requirement,
            package.version,
        )
        for wanted in {"", *requirement.extras} - {one for of, one in seen if of == name}:
            seen.add((name, wanted))
            waiting += [(Requirement(line), wanted) for line in package.requires or ()]
    return found.values()
