"""Raise the pins of constraints.txt: resolve pyproject.toml's groups and extras afresh, and run the tests.

    scripts/raise-pins               writes constraints.txt, prints what changed, runs scripts/test
    scripts/raise-pins --dry-run     only prints what would change

pip resolves for this machine and its Python, within the bounds of pyproject.toml; nothing is installed. A pin
that only another file names (such as a package that a test installs for itself) is dropped and named, so look
at the list. When the tests fail, constraints.txt keeps the new pins: the diff shows what to go back on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = ("pip", "hatchling")  # what scripts/setup installs before all else


class ResolveError(Exception):
    """pip found no set of versions; the message is its own."""


@dataclass(frozen=True)
class Change:
    """What happens to one package; no version: it is not there."""

    name: str
    before: str | None
    after: str | None

    def sentence(self) -> str:
        if self.before is None:
            return f"  new      {self.name} {self.after}"
        if self.after is None:
            return f"  dropped  {self.name} {self.before}"
        word = "raised " if Version(self.after) > Version(self.before) else "lowered"
        return f"  {word}  {self.name} {self.before} → {self.after}"


def resolve(root: Path) -> dict[str, str]:
    """The newest versions that fit together, by the packages' own names: all groups, all extras, TOOLS.

    Raises:
        ResolveError: there are none, or pip cannot reach an index.
    """
    declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    extras = ",".join(declared["project"].get("optional-dependencies", {}))
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-qq"]
        command += ["--no-build-isolation", "--report", str(report), f".[{extras}]" if extras else "."]
        command += TOOLS
        for group in declared["dependency-groups"]:
            command += ["--group", group]
        done = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise ResolveError(done.stderr.strip())
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    found = {entry["metadata"]["name"]: entry["metadata"]["version"] for entry in installed}
    found.pop(declared["project"]["name"], None)
    # Without a local version such as +cpu, which another index has not.
    return {name: Version(version).public for name, version in found.items()}


def read_pins(path: Path) -> tuple[list[str], dict[str, str]]:
    """The comment at the head of constraints.txt, and its pins."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines if line.startswith("#")]
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return comment, pins


def write_pins(path: Path, comment: Sequence[str], pins: Mapping[str, str]) -> None:
    """Write constraints.txt, one package per line, sorted as the eye finds them."""
    lines = [f"{name}=={pins[name]}" for name in sorted(pins, key=str.lower)]
    path.write_text("\n".join([*comment, *lines]) + "\n", encoding="utf-8")


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """What differs, whatever the packages' names are spelt like."""
    old = {canonicalize_name(name): version for name, version in before.items()}
    new = {canonicalize_name(name): version for name, version in after.items()}
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def main(arguments: Sequence[str], root: Path = REPOSITORY) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/raise-pins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing and run no tests")
    parser.add_argument("--no-tests", action="store_true", help="write the pins and run no tests")
    options = parser.parse_args(arguments)
    path = root / "constraints.txt"
    comment, before = read_pins(path)
    try:
        after = resolve(root)
    except ResolveError as error:
        print(f"raise-pins: pip found no versions that fit together:\n{error}", file=sys.stderr)
        return 1
    found = changes(before, after)
    if not found:
        print("raise-pins: every pin is the newest that fits")
        return 0
    for change in found:
        print(change.sentence(), flush=True)
    if options.dry_run:
        return 0
    write_pins(path, comment, after)
    locks = root / "scripts" / "lock-pins"
    if locks.exists() and subprocess.run([locks], cwd=root, check=False).returncode != 0:
        print("raise-pins: constraints.txt is written, and locks/ is not", file=sys.stderr)
        return 1
    if options.no_tests:
        return 0
    print("raise-pins: constraints.txt is written; running scripts/test", flush=True)
    if subprocess.run([root / "scripts" / "test"], cwd=root, check=False).returncode != 0:
        print(
            "raise-pins: the tests fail with these pins; `git diff constraints.txt` shows them, and "
            "`git checkout constraints.txt` takes them back",
            file=sys.stderr,
        )
        return 1
    print("raise-pins: the tests pass; commit constraints.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
