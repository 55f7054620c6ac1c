"""The command that raises the pins: what it writes, what it says, and what it leaves when tests fail."""

import zipfile
from pathlib import Path

import pytest
import raise_pins

pytestmark = pytest.mark.slow  # runs pip

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "ours"
version = "1.0"
dependencies = ["below>=1"]

[project.optional-dependencies]
more = ["Extra.Thing>=1"]

[dependency-groups]
dev = ["held==1.0", "moving>=1.0"]

[tool.hatch.build.targets.wheel]
only-include = ["pyproject.toml"]
"""
PINS = """# The versions that are tested.
below==1.0
extra-thing==1.0
gone==3.0
hatchling==1.0
held==1.0
moving==1.0
pip==1.0
"""
PACKAGES = (
    ("below", "2.0", ""),
    ("Extra.Thing", "1.0", ""),
    ("held", "1.0", ""),
    ("held", "2.0", ""),
    ("moving", "1.1+cpu", "brought"),
    ("brought", "0.1", ""),
    ("hatchling", "1.0", ""),
    ("pip", "1.0", ""),
)


def write_wheel(folder: Path, name: str, version: str, requires: str) -> None:
    """The least that pip takes for a package."""
    plain = name.replace(".", "_").lower()
    info = f"{plain}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{plain}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with pins, and a folder of packages in place of an index."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in PACKAGES:
        write_wheel(packages, *package)
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(packages)), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{name}", value)
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "constraints.txt").write_text(PINS)
    return root


def put_tests(project: Path, status: int) -> None:
    """scripts/test that notes that it ran and ends so."""
    script = project / "scripts" / "test"
    script.write_text(f"#!/bin/sh\ntouch ran\nexit {status}\n")
    script.chmod(0o755)


def test_pins_become_what_pip_chooses(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the bounds of pyproject.toml, with what packages bring, without local versions."""
    put_tests(project, 0)
    assert raise_pins.main([], project) == 0
    assert (project / "constraints.txt").read_text().splitlines() == [
        "# The versions that are tested.",
        *("below==2.0", "brought==0.1", "Extra.Thing==1.0"),
        *("hatchling==1.0", "held==1.0", "moving==1.1", "pip==1.0"),
    ]
    assert (project / "ran").exists(), "the tests did not run"
    said = capsys.readouterr().out
    for line in ("raised   below 1.0 → 2.0", "new      brought 0.1", "dropped  gone 3.0", "moving 1.0 → 1.1"):
        assert line in said
    assert "held" not in said
    assert "extra" not in said


def test_a_dry_run_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever only wants to know changes nothing and waits for no test."""
    put_tests(project, 0)
    assert raise_pins.main(["--dry-run"], project) == 0
    assert (project / "constraints.txt").read_text() == PINS
    assert not (project / "ran").exists()
    assert "raised   below 1.0 → 2.0" in capsys.readouterr().out


def test_failing_tests_leave_the_new_pins_to_be_looked_at(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command fails too, and says how to see and take back what it wrote."""
    put_tests(project, 1)
    assert raise_pins.main([], project) == 1
    assert "below==2.0" in (project / "constraints.txt").read_text()
    assert "git diff constraints.txt" in capsys.readouterr().err


def test_no_fitting_versions_are_said_in_pips_words(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pins stay what they were."""
    text = PYPROJECT.replace("held==1.0", "held==9.0")
    (project / "pyproject.toml").write_text(text)
    assert raise_pins.main([], project) == 1
    assert (project / "constraints.txt").read_text() == PINS
    assert "held==9.0" in capsys.readouterr().err


def test_pins_that_are_the_newest_are_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run changes nothing."""
    put_tests(project, 0)
    assert raise_pins.main(["--no-tests"], project) == 0
    assert not (project / "ran").exists()
    capsys.readouterr()
    assert raise_pins.main([], project) == 0
    assert capsys.readouterr().out == "raise-pins: every pin is the newest that fits\n"
