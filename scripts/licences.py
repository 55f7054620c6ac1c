"""Which licences come with what is pinned: docs/licences.md, held to what scripts/licences.toml allows.

    scripts/licences             reads what is installed, writes the table; names what is not allowed
    scripts/licences --check     only says whether the table fits the pins and the rules

A licence is that of a package's own metadata as an SPDX expression: `License-Expression`, else `License`,
else the classifiers. Where those say nothing, or less than the files of the package, licences.toml says it,
with the reason. What is not installed keeps its row in the table for the same version, or pip asks the index.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from license_expression import ExpressionError, Licensing, get_spdx_licensing
from lock_pins import read
from packaging.utils import canonicalize_name
from raise_pins import REPOSITORY, read_pins

CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zope Public License": "ZPL-2.1",
}
FIELDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "the mit license": "MIT",
}
# No licence of SPDX, and called so by the packages themselves.
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
FIELDS_READ = ("License", "License-Expression")
ROW = re.compile(r"\| ([^|`]+) \| ([^|]+) \| ([^|]+) \|")
HEAD = """\
# Licences of what is pinned

Written by `scripts/licences` from the packages' own metadata; [licences.toml](../scripts/licences.toml) has
what is allowed, and why where that is not obvious. Nothing of it is in babelclip's own wheel; an image has
the packages of its groups, and their licence texts in `/opt/babelclip/THIRD-PARTY-NOTICES.txt`.

| package | version | licence |
|---|---|---|
"""


@dataclass(frozen=True)
class Rules:
    """What licences.toml says."""

    allowed: frozenset[str]
    """SPDX identifiers that any package may have."""
    stated: Mapping[str, str]
    """Licences by package, where its metadata do not say them."""
    excepted: Mapping[str, frozenset[str]]
    """Further identifiers by package."""


def rules(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        KeyError: an entry lacks its licence or its reason.
    """
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    for entry in (*found.get("stated", {}).values(), *found.get("excepted", {}).values()):
        if not entry["licence"] or not entry["reason"]:
            raise KeyError(path.name)
    return Rules(
        allowed=frozenset(found["allowed"]),
        stated={canonicalize_name(name): entry["licence"] for name, entry in found.get("stated", {}).items()},
        excepted={
            canonicalize_name(name): frozenset(entry["licence"].split(" AND "))
            for name, entry in found.get("excepted", {}).items()
        },
    )


def licence_of(message: Mapping[str, str], classifiers: Sequence[str]) -> str:
    """What a package's metadata say, as an SPDX expression; "" where they say nothing that is clear."""
    field = (message.get("License") or "").strip()
    first = field.partition("\n")[0].strip().lower()
    for stated in (message.get("License-Expression", ""), field, FIELDS.get(first, "")):
        if is_spdx(stated):
            return stated
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    known = sorted({CLASSIFIERS[name] for name in names if name in CLASSIFIERS})
    if known and known != ["BSD"] and len(known) == len(set(names) - {"OSI Approved"}):
        return " AND ".join(known)
    return ""


@cache
def spdx() -> Licensing:
    """What knows SPDX's identifiers, and NVIDIA; takes a third of a second to make."""
    return Licensing([*get_spdx_licensing().known_symbols.values(), NVIDIA])


@cache
def is_spdx(expression: str) -> bool:
    """Whether it is an expression of licences that SPDX knows."""
    try:
        return spdx().parse(expression, validate=True, strict=True) is not None
    except ExpressionError:
        return False


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether one may choose so that every licence which then holds is allowed."""
    licensing = spdx()
    parsed = licensing.parse(expression, validate=True)
    truth = {
        symbol: licensing.TRUE if str(symbol) in allowed else licensing.FALSE
        for symbol in licensing.license_symbols(parsed, unique=True, decompose=False)
    }
    return bool(parsed.subs(truth, simplify=True) == licensing.TRUE)


def pinned(root: Path) -> dict[str, str]:
    """All pins by the packages' own names: those of constraints.txt, and torch's libraries."""
    pins = dict(read_pins(root / "constraints.txt")[1])
    known = {canonicalize_name(name) for name in pins}
    return pins | {
        pin.name: pin.version for pin in read(root / "locks" / "torch.txt").values() if pin.name not in known
    }


def table(path: Path) -> dict[str, tuple[str, str]]:
    """The committed table: version and licence by canonical name."""
    if not path.exists():
        return {}
    rows = ROW.findall(path.read_text(encoding="utf-8").partition("|---|---|---|\n")[2])
    return {canonicalize_name(name): (version, licence) for name, version, licence in rows}


def problems(found: Mapping[str, tuple[str, str]], pins: Mapping[str, str], given: Rules) -> list[str]:
    """What is wrong with a table, in sentences."""
    wrong = []
    for name, version in pins.items():
        shown, licence = found.get(canonicalize_name(name), ("", ""))
        if shown != version:
            wrong.append(f"{name} {version} is not in the table; run scripts/licences")
        elif not is_spdx(licence):
            wrong.append(
                f"{name} {version} has no clear licence; read its files, and state it in licences.toml"
            )
        elif not is_allowed(
            licence, given.allowed | given.excepted.get(canonicalize_name(name), frozenset())
        ):
            wrong.append(f"{name} {version} is under {licence}, which is not allowed")
    known = {canonicalize_name(name) for name in pins}
    wrong += [f"{name} is in the table and not pinned" for name in found if name not in known]
    wrong += [
        f"licences.toml names {name}, which is not pinned"
        for name in {*given.stated, *given.excepted} - known
    ]
    return wrong


def installed(pins: Mapping[str, str]) -> dict[str, str]:
    """The licences of those pins that are installed here, as their metadata say."""
    found = {}
    for name, version in pins.items():
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if package.version.partition("+")[0] == version:
            fields = {field: package.metadata[field] for field in FIELDS_READ if field in package.metadata}
            found[name] = licence_of(fields, package.metadata.get_all("Classifier") or [])
    return found


def asked(pins: Mapping[str, str]) -> dict[str, str]:
    """The licences of these pins as an index has their metadata; installs nothing.

    Raises:
        RuntimeError: pip cannot reach an index; the message is its own.
    """
    if not pins:
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed"]
        command += ["-qq", "--report", str(report), *(f"{name}=={pin}" for name, pin in pins.items())]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        entries = [entry["metadata"] for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]
    names = {canonicalize_name(name): name for name in pins}
    found = {}
    for entry in entries:
        said = {field: entry.get(field.lower().replace("-", "_")) or "" for field in FIELDS_READ}
        found[names[canonicalize_name(entry["name"])]] = licence_of(said, entry.get("classifier", []))
    return found


def collect(
    pins: Mapping[str, str], given: Rules, former: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """The table: what is stated, else installed, else in the former table, else what the index says."""
    stated = {name: given.stated.get(canonicalize_name(name), "") for name in pins}
    found = installed(pins) | {name: licence for name, licence in stated.items() if licence}
    for name, version in pins.items():
        row = former.get(canonicalize_name(name), ("", ""))
        if name not in found and row[0] == version:
            found[name] = row[1]
    found |= asked({name: version for name, version in pins.items() if name not in found})
    return {name: (version, found.get(name) or "unknown") for name, version in pins.items()}


def main(arguments: Sequence[str], root: Path = REPOSITORY) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/licences", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    path = root / "docs" / "licences.md"
    given, pins = rules(root / "scripts" / "licences.toml"), pinned(root)
    if not options.check:
        found = collect(pins, given, table(path))
        rows = [
            f"| {name} | {found[name][0]} | {found[name][1]} |\n" for name in sorted(found, key=str.lower)
        ]
        path.write_text(HEAD + "".join(rows), encoding="utf-8")
    wrong = problems(table(path), pins, given)
    for line in wrong:
        print(f"licences: {line}", file=sys.stderr)
    if not wrong:
        print(f"licences: {len(pins)} packages, all of them allowed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
