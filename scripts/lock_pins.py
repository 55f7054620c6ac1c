"""Write locks/: the pins of every group and extra with the hashes of their files, for pip's --require-hashes.

    scripts/lock-pins            asks the index, by uv, and writes what has changed
    scripts/lock-pins --check    asks nobody: do the locks fit pins, declarations and what is installed?

A lock is complete, so it is installed with --no-deps. It is for Python 3.11 to 3.13 on Linux with glibc,
x86_64 and aarch64: of each version the hashes of the wheels for those, and of the source where one of them
has no wheel. It names no index. torch has a lock of its own, `torch.txt`, with the build for CUDA that PyPI
has and the libraries of that build: who takes another build installs it beside the rest.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version
from raise_pins import REPOSITORY, TOOLS, read_pins

PYTHONS = ((3, 11), (3, 12), (3, 13))
MACHINES = ("x86_64", "aarch64")
HEAD = "# Written by scripts/lock-pins, which says what this is for. Install with --no-deps --require-hashes."
TORCH = "torch"


class LockError(Exception):
    """The locks cannot be written; the message says why."""


@dataclass(frozen=True)
class Pin:
    """One version of a package."""

    name: str
    """In its canonical form."""
    version: str
    marker: str
    """Where it is needed, as `sys_platform == "linux"`; "" for everywhere."""
    hashes: tuple[str, ...]
    """SHA-256 in hexadecimal, sorted."""

    def lines(self) -> str:
        """As pip reads it."""
        first = f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")
        return " \\\n".join([first, *(f"    --hash=sha256:{each}" for each in self.hashes)])


def environments() -> list[dict[str, str]]:
    """What markers are asked about: each Python on each kind of machine."""
    return [
        {
            "implementation_name": "cpython",
            "implementation_version": f"{major}.{minor}.9",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{major}.{minor}.9",
            "python_version": f"{major}.{minor}",
            "sys_platform": "linux",
            "extra": "",
        }
        for major, minor in PYTHONS
        for machine in MACHINES
    ]


def holds(marker: Marker | None, environment: Mapping[str, str]) -> bool:
    """Whether a package is needed there."""
    return marker is None or marker.evaluate(dict(environment))


def runs(tag: Tag, environment: Mapping[str, str]) -> bool:
    """Whether a wheel of this tag can be installed there, on a system as new as it wants."""
    platform, machine = tag.platform, environment["platform_machine"]
    if platform != "any" and not (platform.startswith(("manylinux", "linux")) and platform.endswith(machine)):
        return False
    minor = int(environment["python_version"].partition(".")[2])
    if tag.interpreter.startswith("py"):
        return tag.interpreter in ("py3", f"py3{minor}") and tag.abi == "none"
    if not tag.interpreter.startswith("cp3") or not tag.interpreter[3:].isdigit():
        return False
    if tag.abi == "abi3":
        return int(tag.interpreter[3:]) <= minor
    return tag.interpreter == f"cp3{minor}" and tag.abi in (f"cp3{minor}", "none")


def files_of(package: Mapping[str, Any], needed: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The hashes of the files of a package, an entry of uv's pylock, for where it is needed."""
    hashes = set()
    without = list(needed)
    for wheel in package.get("wheels", ()):
        name = unquote(str(wheel.get("name") or wheel["url"].rpartition("/")[2].partition("#")[0]))
        tags = parse_wheel_filename(name)[3]
        fits = [each for each in needed if any(runs(tag, each) for tag in tags)]
        if fits:
            hashes.add(wheel["hashes"]["sha256"])
            without = [each for each in without if each not in fits]
    if without and "sdist" in package:
        hashes.add(package["sdist"]["hashes"]["sha256"])
    if not hashes:
        raise LockError(f"{package['name']} {package['version']} has no file for Linux")
    return tuple(sorted(hashes))


def resolve(root: Path, requirements: Iterable[str]) -> list[Pin]:
    """What these requirements need within constraints.txt, anywhere on Linux; asks the index.

    Raises:
        LockError: uv is not installed, cannot reach the index, or finds no versions.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, made = Path(scratch, "given.in"), Path(scratch, "pylock.toml")
        given.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        words = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--universal"]
        words += ["--python-version", ".".join(map(str, PYTHONS[0])), "--constraint", "constraints.txt"]
        words += ["--generate-hashes", "--format", "pylock.toml", "--output-file", str(made), str(given)]
        done = subprocess.run(words, cwd=root, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise LockError(done.stderr.strip())
        packages = tomllib.loads(made.read_text(encoding="utf-8"))["packages"]
    pins = []
    everywhere = environments()
    for package in packages:
        marker = Marker(package["marker"]) if "marker" in package else None
        needed = [each for each in everywhere if holds(marker, each)]
        if needed:
            shown = "" if len(needed) == len(everywhere) else str(marker)
            name = canonicalize_name(package["name"])
            pins.append(Pin(name, package["version"], shown, files_of(package, needed)))
    return sorted(pins, key=lambda pin: pin.name)


def constraints(root: Path) -> dict[str, str]:
    """The versions of constraints.txt by canonical name."""
    pins = read_pins(root / "constraints.txt")[1]
    return {str(canonicalize_name(name)): version for name, version in pins.items()}


def wanted(root: Path) -> dict[str, list[str]]:
    """The requirements of each lock by its file below locks/."""
    declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = declared["project"], declared["dependency-groups"]
    torch = [line for lines in groups.values() for line in lines if Requirement(line).name == TORCH]
    found = {"torch.txt": sorted(set(torch)), "build.txt": list(TOOLS), "client.txt": project["dependencies"]}
    found |= {f"{name}.txt": lines for name, lines in groups.items()}
    extras = project.get("optional-dependencies", {})
    found |= {f"extras/{name}.txt": project["dependencies"] + lines for name, lines in extras.items()}
    return found


def write(path: Path, pins: Sequence[Pin]) -> bool:
    """Write a lock; returns whether it is another one than before."""
    text = "\n".join([HEAD, *(pin.lines() for pin in pins)]) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def read(path: Path) -> dict[str, Pin]:
    """The pins of a lock by name.

    Raises:
        LockError: a line is none that `write` writes.
    """
    pins: dict[str, Pin] = {}
    text = path.read_text(encoding="utf-8").replace(" \\\n", " ")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        first, *hashes = line.split("    --hash=sha256:")
        requirement = Requirement(first)
        (version,) = requirement.specifier
        if version.operator != "==" or not hashes or any(len(each.strip()) != 64 for each in hashes):
            raise LockError(f"{path.name}: {first.strip()} is no exact pin with hashes")
        name, marker = canonicalize_name(requirement.name), str(requirement.marker or "")
        pins[name] = Pin(name, version.version, marker, tuple(each.strip() for each in hashes))
    return pins


def lock(root: Path) -> list[str]:
    """Write all locks; returns those that have changed.

    Raises:
        LockError: as in `resolve`, or constraints.txt does not pin what is needed.
    """
    constrained = constraints(root)
    changed = []
    alone: set[str] = set()
    requirements = wanted(root)
    for file, lines in requirements.items():
        pins = resolve(root, lines)
        if file == "torch.txt":
            # What else needs is in the other locks.
            pins = [pin for pin in pins if pin.name == TORCH or pin.name not in constrained]
            alone = {pin.name for pin in pins}
        else:
            pins = [pin for pin in pins if pin.name not in alone]
            missing = [f"{pin.name}=={pin.version}" for pin in pins if pin.name not in constrained]
            if missing:
                raise LockError(f"constraints.txt does not pin {', '.join(missing)}, which {file} needs")
        if write(root / "locks" / file, pins):
            changed.append(file)
    for path in sorted((root / "locks").rglob("*.txt")):
        if path.relative_to(root / "locks").as_posix() not in requirements:
            path.unlink()
            changed.append(f"{path.relative_to(root / 'locks').as_posix()} (removed)")
    return changed


def check(root: Path) -> list[str]:
    """What is wrong with the locks, in sentences; asks no index.

    Of what is installed here, the dependencies are followed, too.
    """
    constrained = constraints(root)
    requirements = wanted(root)
    found = {path.relative_to(root / "locks").as_posix() for path in (root / "locks").rglob("*.txt")}
    problems = [f"locks/{file} belongs to nothing" for file in sorted(found - requirements.keys())]
    problems += [f"locks/{file} is missing" for file in sorted(requirements.keys() - found)]
    beside = set(read(root / "locks" / "torch.txt")) if "torch.txt" in found else set()
    for file in sorted(found & requirements.keys()):
        pins = read(root / "locks" / file)
        for pin in pins.values():
            if pin.name in beside and pin.name != TORCH:
                continue
            if pin.version != constrained.get(pin.name):
                there = constrained.get(pin.name, "none")
                problems.append(f"locks/{file} has {pin.name} {pin.version}, constraints.txt {there}")
        problems += [
            f"locks/{file} lacks {missing}"
            for missing in _missing([Requirement(line) for line in requirements[file]], pins, beside)
        ]
    return problems


def _missing(requirements: Iterable[Requirement], pins: Mapping[str, Pin], beside: set[str]) -> list[str]:
    """What a lock lacks of these, or has in a version that does not do, somewhere that it is for."""
    missing: dict[str, None] = {}
    for environment in environments():
        todo = list(requirements)
        seen: set[tuple[str, frozenset[str]]] = set()
        while todo:
            each = todo.pop()
            name = canonicalize_name(each.name)
            if not holds(each.marker, environment) or name in beside:
                continue
            pin = pins.get(name)
            needed = pin is not None and holds(Marker(pin.marker) if pin.marker else None, environment)
            if (
                pin is None
                or not needed
                or not each.specifier.contains(Version(pin.version), prereleases=True)
            ):
                missing[str(each)] = None
                continue
            key = (name, frozenset(each.extras))
            if key not in seen:
                seen.add(key)
                todo += _dependencies(each, environment)
    return list(missing)


def _dependencies(requirement: Requirement, environment: Mapping[str, str]) -> list[Requirement]:
    """What an installed package needs there; nothing is said of one that is not installed."""
    try:
        lines = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for each in map(Requirement, lines):
        chosen = ["", *requirement.extras]
        if each.marker is None or any(
            each.marker.evaluate({**environment, "extra": extra}) for extra in chosen
        ):
            each.marker = None
            found.append(each)
    return found


def main(arguments: Sequence[str], root: Path = REPOSITORY) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/lock-pins", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the locks do not fit"
    )
    options = parser.parse_args(arguments)
    if options.check:
        problems = check(root)
        for problem in problems:
            print(f"lock-pins: {problem}", file=sys.stderr)
        return 1 if problems else 0
    try:
        changed = lock(root)
    except LockError as error:
        print(f"lock-pins: {error}", file=sys.stderr)
        return 1
    for file in changed:
        print(f"lock-pins: locks/{file}")
    if not changed:
        print("lock-pins: every lock is as it was")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
