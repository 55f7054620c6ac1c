"""Licences: the table fits the pins and the rules, metadata are read rightly, notices are collected."""

import re
import subprocess
import sys
from pathlib import Path

import licences
import notices
import pytest
from licences import Rules
from packaging.utils import canonicalize_name

from tests.places import REPOSITORY

RULES = Rules(
    allowed=frozenset({"MIT", "Apache-2.0", "MPL-2.0"}),
    stated={},
    excepted={"java": frozenset({"GPL-2.0-only WITH Classpath-exception-2.0"})},
)


def test_every_pin_has_a_licence_that_is_allowed() -> None:
    """A package that comes in under another licence, or none that is clear, is seen before it is shipped."""
    given = licences.rules(REPOSITORY / "scripts" / "licences.toml")
    found = licences.table(REPOSITORY / "docs" / "licences.md")
    assert licences.problems(found, licences.pinned(REPOSITORY), given) == []


def test_what_is_installed_says_what_the_table_says() -> None:
    """A row is not older than its package."""
    given = licences.rules(REPOSITORY / "scripts" / "licences.toml")
    found = licences.table(REPOSITORY / "docs" / "licences.md")
    now = licences.collect(licences.pinned(REPOSITORY), given, found)
    assert {canonicalize_name(name): row for name, row in now.items()} == found


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("1.0", "MIT"), None),
        (("1.0", "AGPL-3.0-only OR MIT"), None),
        (("1.0", "MIT AND (Apache-2.0 OR GPL-3.0-only)"), None),
        (("1.0", "AGPL-3.0-only"), "is under AGPL-3.0-only, which is not allowed"),
        (("1.0", "MIT AND GPL-3.0-only"), "which is not allowed"),
        (("1.0", "GPL-2.0-only WITH Classpath-exception-2.0"), "which is not allowed"),
        (("1.0", "unknown"), "has no clear licence"),
        (("1.0", "BSD"), "has no clear licence"),
        (("1.0", ""), "has no clear licence"),
        (("0.9", "MIT"), "is not in the table"),
    ],
)
def test_rules_are_kept(row: tuple[str, str], words: str | None) -> None:
    """One may choose between licences with OR and must keep all with AND; versions are the pinned ones."""
    wrong = licences.problems({"one": row}, {"one": "1.0"}, Rules(RULES.allowed, {}, {}))
    assert (wrong == []) is (words is None)
    assert words is None or words in wrong[0]


def test_an_exception_is_for_one_package() -> None:
    """What Java may have, no other package may; and what is no longer pinned has no rule."""
    row = ("1.0", "GPL-2.0-only WITH Classpath-exception-2.0")
    assert licences.problems({"java": row}, {"java": "1.0"}, RULES) == []
    assert "not allowed" in licences.problems({"other": row}, {"other": "1.0"}, RULES)[0]
    assert "licences.toml names java, which is not pinned" in licences.problems({}, {}, RULES)
    assert "former is in the table and not pinned" in licences.problems({"former": row}, {}, RULES)


@pytest.mark.parametrize(
    ("message", "classifiers", "found"),
    [
        ({"License-Expression": "MIT OR Apache-2.0"}, [], "MIT OR Apache-2.0"),
        ({}, ["License :: OSI Approved :: MIT License"], "MIT"),
        (
            {"License": "see files"},
            [
                "License :: OSI Approved :: MIT License",
                "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
            ],
            "MIT AND MPL-2.0",
        ),
        ({"License": "BSD-3-Clause"}, ["License :: OSI Approved :: BSD License"], "BSD-3-Clause"),
        ({"License": "MIT OR Apache-2.0"}, ["License :: OSI Approved :: MIT License"], "MIT OR Apache-2.0"),
        ({"License": "Apache License 2.0"}, [], "Apache-2.0"),
        ({"License": "BSD 3-Clause License\n\nCopyright 2021 somebody"}, [], "BSD-3-Clause"),
        ({}, ["License :: OSI Approved :: BSD License"], ""),
        ({}, ["License :: OSI Approved :: MIT License", "License :: Other/Proprietary License"], ""),
        ({"License": "Copyright 2020 somebody\nPermission is hereby granted"}, [], ""),
        ({}, [], ""),
    ],
)
def test_metadata_are_read(message: dict[str, str], classifiers: list[str], found: str) -> None:
    """What is clear is taken, and what is not is left to be read by somebody."""
    assert licences.licence_of(message, classifiers) == found


def test_a_rule_needs_a_reason(tmp_path: Path) -> None:
    """Nobody is to guess why a package was let through."""
    path = tmp_path / "licences.toml"
    path.write_text('allowed = []\n[excepted.one]\nlicence = "GPL-3.0-only"\nreason = ""\n')
    with pytest.raises(KeyError):
        licences.rules(path)


def test_notices_hold_the_texts_of_every_package(tmp_path: Path) -> None:
    """Licences, notices and authors, wherever a package keeps them; one without says that."""
    for name, files in {
        "new-1.0": {"licenses/LICENSE": "permission", "licenses/third/NOTICE": "thanks"},
        "old-2.0": {"LICENSE.txt": "old permission", "AUTHORS": "somebody", "RECORD": "files"},
        "bare-3.0": {},
    }.items():
        folder = tmp_path / f"{name}.dist-info"
        package, _, version = name.partition("-")
        texts = {
            "METADATA": f"Metadata-Version: 2.4\nName: {package}\nVersion: {version}\nLicense: MIT\nrest",
            **files,
        }
        for file, text in texts.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
    made = tmp_path / "notices.txt"
    assert notices.main([str(tmp_path), str(made)]) == 0
    text = made.read_text()
    assert re.findall(r"^(\w+) [0-9.]+ \(MIT\)$", text, re.MULTILINE) == ["bare", "new", "old"]
    for words in ("permission", "thanks", "old permission", "somebody", "holds no licence text"):
        assert words in text
    assert "files" not in text


def test_notices_need_nothing_but_python(tmp_path: Path) -> None:
    """An image's stage runs the script with what it installs, and no package of ours."""
    script = REPOSITORY / "scripts" / "notices.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, tmp_path, tmp_path / "made"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, "nowhere", "made"], capture_output=True, text=True
    )
    assert done.returncode == 2
