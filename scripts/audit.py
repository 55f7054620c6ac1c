"""Known vulnerabilities in what is pinned: asked of PyPI or OSV by pip-audit, judged by scripts/audit.toml.

    scripts/audit                                 constraints.txt and torch's libraries, by PyPI's advisories
    scripts/audit --service osv [--osv-url URL]   by OSV's, or by a mirror of them
    scripts/audit --report FILE                   what `pip-audit --format json` wrote elsewhere; asks nobody

The status is 0 if there is nothing but what is allowed, 1 if there is more, or an entry of the list is
over, 2 if the service could not be asked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from lock_pins import read
from packaging.utils import canonicalize_name
from raise_pins import REPOSITORY, read_pins

SERVICES = ("pypi", "osv")


class AuditError(Exception):
    """There is nothing to judge; the message says why."""


@dataclass(frozen=True)
class Vulnerability:
    """One that is known of a pinned version."""

    package: str
    version: str
    names: frozenset[str]
    """Its identifiers: PYSEC, CVE, GHSA."""
    fixed: tuple[str, ...]
    """Versions without it."""

    def sentence(self) -> str:
        """For people."""
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no version is without it"
        return f"{self.package} {self.version}: {', '.join(sorted(self.names))}; {fixed}"


@dataclass(frozen=True)
class Allowance:
    """An entry of the list."""

    name: str
    package: str
    reason: str
    until: date

    def covers(self, found: Vulnerability) -> bool:
        """Whether it is about this one."""
        return self.name in found.names and canonicalize_name(self.package) == found.package


def allowances(path: Path) -> list[Allowance]:
    """The list.

    Raises:
        AuditError: an entry lacks a field, has another, or has one of another type.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("allowed", [])
    except tomllib.TOMLDecodeError as error:
        raise AuditError(f"{path.name}: {error}") from None
    fields = {"id": str, "package": str, "reason": str, "until": date}
    for entry in entries:
        if entry.keys() != fields.keys() or not all(
            type(entry[name]) is kind for name, kind in fields.items()
        ):
            raise AuditError(
                f"{path.name}: an entry must have id, package, reason and until (a date): {entry}"
            )
        if not entry["reason"].strip():
            raise AuditError(f"{path.name}: {entry['id']} has no reason")
    return [Allowance(entry["id"], entry["package"], entry["reason"], entry["until"]) for entry in entries]


def vulnerabilities(report: Any) -> list[Vulnerability]:
    """Those of a report as `pip-audit --format json` writes it.

    Raises:
        AuditError: it is none, or a package of it could not be looked up.
    """
    try:
        packages = report["dependencies"]
        skipped = [f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]
        if skipped:
            raise AuditError(f"not looked up: {'; '.join(skipped)}")
        return [
            Vulnerability(
                canonicalize_name(each["name"]),
                each["version"],
                frozenset([found["id"], *found.get("aliases", [])]),
                tuple(found.get("fix_versions", [])),
            )
            for each in packages
            for found in each["vulns"]
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise AuditError(f"this is no report of pip-audit: {type(error).__name__} {error}") from None


def judge(found: Sequence[Vulnerability], allowed: Sequence[Allowance], today: date) -> list[str]:
    """What must be done, in sentences; nothing is all right."""
    todo = []
    for one in found:
        covering = [each for each in allowed if each.covers(one)]
        if not any(today <= each.until for each in covering):
            over = f"; it was allowed until {max(each.until for each in covering)}" if covering else ""
            todo.append(one.sentence() + over)
    for each in allowed:
        if not any(each.covers(one) for one in found):
            todo.append(f"{each.package}: {each.name} is not found any more; take it out of audit.toml")
    return todo


def pinned(root: Path) -> dict[str, str]:
    """All pins: those of constraints.txt, and torch's libraries."""
    pins = {
        canonicalize_name(name): version for name, version in read_pins(root / "constraints.txt")[1].items()
    }
    return pins | {pin.name: pin.version for pin in read(root / "locks" / "torch.txt").values()}


def ask(pins: dict[str, str], service: str, url: str | None) -> Any:
    """pip-audit's report of these versions.

    Raises:
        AuditError: the service could not be asked, or pip-audit is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch, "pins.txt")
        given.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), encoding="utf-8")
        words = [sys.executable, "-m", "pip_audit", "--requirement", str(given), "--disable-pip", "--no-deps"]
        words += ["--progress-spinner", "off", "--format", "json", "--vulnerability-service", service]
        words += ["--osv-url", url] if url else []
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        # Its status is 1 for what it found, and for what went wrong.
        return json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip() or "no answer").splitlines()[-1]
        raise AuditError(f"pip-audit: {last}") from None


def main(arguments: Sequence[str], root: Path = REPOSITORY, today: date | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", choices=SERVICES, default="pypi", help="whose advisories")
    parser.add_argument("--osv-url", help="of a mirror of OSV: its call `query`")
    parser.add_argument("--report", type=Path, help="judge this file instead of asking")
    parser.add_argument("--allowed", type=Path, default=root / "scripts" / "audit.toml", help="the list")
    options = parser.parse_args(arguments)
    try:
        allowed = allowances(options.allowed)
        if options.report:
            report = json.loads(options.report.read_text(encoding="utf-8"))
        else:
            report = ask(pinned(root), options.service, options.osv_url)
        found = vulnerabilities(report)
    except (AuditError, OSError, ValueError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    todo = judge(found, allowed, today or date.today())
    for line in todo:
        print(f"audit: {line}", file=sys.stderr)
    packages = len(report["dependencies"])
    if not todo:
        print(
            f"audit: {packages} packages, {len(found)} known vulnerabilities, all of them allowed"
            if found
            else f"audit: {packages} packages, no known vulnerability"
        )
    return 1 if todo else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
