"""locks/: complete, and equal to pins and declarations; how they are written and installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lock_pins
import pytest
from lock_pins import LockError, Pin
from packaging.markers import Marker
from packaging.requirements import Requirement

from tests.places import REPOSITORY

LOCKS = sorted((REPOSITORY / "locks").rglob("*.txt"))
PLATFORM = lock_pins.environments()[0]


def test_the_locks_fit_pins_declarations_and_what_is_installed() -> None:
    """A pin that moves, or a dependency that comes in, without new locks is seen before an image lacks it."""
    assert lock_pins.check(REPOSITORY) == []


def test_locks_name_no_index() -> None:
    """Locks say which files, and not where from: a mirror will do."""
    for path in LOCKS:
        text = path.read_text()
        assert "://" not in text
        assert not re.search(r"^\s*(-i|--(extra-)?index|--find)", text, re.MULTILINE)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository with a lock for each of its groups."""
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'ours'\ndependencies = ['packaging>=20']\n"
        "[dependency-groups]\ndev = ['pluggy>=1', 'pip; sys_platform == \"linux\"', 'torch==2.13.0']\n"
    )
    (tmp_path / "constraints.txt").write_text(
        "packaging==26.3\npluggy==1.7.0\npip==1.0\nhatchling==1.0\ntorch==2.13.0\n"
    )
    for file, names in {
        "torch.txt": {"torch": "2.13.0", "nvidia-thing": "1.0"},
        "build.txt": {"pip": "1.0", "hatchling": "1.0"},
        "client.txt": {"packaging": "26.3"},
        "dev.txt": {"pluggy": "1.7.0", "pip": "1.0"},
    }.items():
        pins = [Pin(name, version, "", ("0" * 64,)) for name, version in names.items()]
        assert lock_pins.write(tmp_path / "locks" / file, pins)
    return tmp_path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A lock is pip's own form, one that pip and the check read alike, and the same is written once."""
    pins = [
        Pin("one", "1.0", "", ("a" * 64, "b" * 64)),
        Pin("two", "2.0+local", 'python_full_version < "3.12"', ("c" * 64,)),
    ]
    path = tmp_path / "lock.txt"
    assert lock_pins.write(path, pins)
    assert not lock_pins.write(path, pins)
    assert list(lock_pins.read(path).values()) == pins
    path.write_text("one>=1.0 \\\n    --hash=sha256:" + "a" * 64 + "\n")
    with pytest.raises(LockError, match="no exact pin"):
        lock_pins.read(path)


def test_locks_that_fit_are_left_alone(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check has nothing to say of locks that are as they should be."""
    hatchling = lock_pins.read(repository / "locks" / "build.txt")["hatchling"]
    assert hatchling.version == "1.0"
    problems = [
        line for line in lock_pins.check(repository) if "build.txt" not in line
    ]  # hatchling's own needs
    assert problems == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "constraints.txt",
            "pluggy==1.7.0",
            "pluggy==1.8.0",
            "locks/dev.txt has pluggy 1.7.0, constraints.txt 1.8.0",
        ),
        ("constraints.txt", "pluggy==1.7.0\n", "", "locks/dev.txt has pluggy 1.7.0, constraints.txt none"),
        ("pyproject.toml", "'pluggy>=1'", "'pluggy>=1', 'iniconfig'", "locks/dev.txt lacks iniconfig"),
        ("pyproject.toml", "'pluggy>=1'", "'pluggy>=2'", "locks/dev.txt lacks pluggy>=2"),
        ("pyproject.toml", "'packaging>=20'", "'pytest'", "locks/client.txt lacks pytest"),
        ("pyproject.toml", "dev =", "more = ['pluggy']\ndev =", "locks/more.txt is missing"),
        ("pyproject.toml", "dev =", "other =", "locks/dev.txt belongs to nothing"),
        (
            "locks/dev.txt",
            "pluggy==1.7.0",
            'pluggy==1.7.0 ; python_version < "3.12"',
            "locks/dev.txt lacks pluggy>=1",
        ),
    ],
)
def test_what_does_not_fit_is_named(file: str, old: str, new: str, words: str, repository: Path) -> None:
    """Each way in which pins, declarations and locks can part."""
    path = repository / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert any(words in problem for problem in lock_pins.check(repository))


def test_the_needs_of_what_is_installed_are_followed(repository: Path) -> None:
    """A lock that has a package and not what that needs is incomplete, extras included."""
    missing = lock_pins._missing([Requirement("pytest")], {"pytest": Pin("pytest", "9.2.0", "", ())}, set())
    assert any(line.startswith("pluggy") for line in missing)
    assert not any(line.startswith("colorama") for line in missing)  # of Windows


def package(*wheels: str, sdist: bool = True) -> dict[str, Any]:
    """A package as uv's pylock has it; the hash of a file is its name."""
    found: dict[str, Any] = {
        "name": "one",
        "version": "1.0",
        "wheels": [
            {"url": f"https://files/one-1.0-{tags}.whl", "hashes": {"sha256": tags}} for tags in wheels
        ],
    }
    if sdist:
        found["sdist"] = {"url": "https://files/one-1.0.tar.gz", "hashes": {"sha256": "source"}}
    return found


@pytest.mark.parametrize(
    ("wheels", "taken"),
    [
        (["py3-none-any"], ["py3-none-any"]),
        (["py2.py3-none-any"], ["py2.py3-none-any"]),
        (
            [
                "cp39-abi3-manylinux_2_28_x86_64",
                "cp39-abi3-manylinux_2_28_aarch64",
                "cp39-abi3-macosx_11_0_arm64",
            ],
            ["cp39-abi3-manylinux_2_28_aarch64", "cp39-abi3-manylinux_2_28_x86_64"],
        ),
        (
            ["cp312-cp312-manylinux2014_x86_64", "cp310-cp310-manylinux2014_x86_64", "cp312-cp312-win_amd64"],
            ["cp312-cp312-manylinux2014_x86_64", "source"],
        ),
        (["cp313-cp313t-manylinux2014_x86_64", "cp314-abi3-manylinux2014_x86_64"], ["source"]),
        (
            ["py3-none-manylinux_2_17_x86_64.musllinux_1_1_x86_64"],
            ["py3-none-manylinux_2_17_x86_64.musllinux_1_1_x86_64", "source"],
        ),
        (["cp311-cp311-musllinux_1_2_x86_64"], ["source"]),
    ],
)
def test_the_files_for_our_machines_are_taken(wheels: list[str], taken: list[str]) -> None:
    """Wheels of the supported Pythons on Linux with glibc; the source only where one has no wheel."""
    assert list(lock_pins.files_of(package(*wheels), lock_pins.environments())) == taken


def test_a_package_without_a_file_for_linux_is_an_error() -> None:
    """It would be found by whoever builds an image, much later."""
    with pytest.raises(LockError, match=r"one 1\.0 has no file for Linux"):
        lock_pins.files_of(package("cp311-cp311-win_amd64", sdist=False), lock_pins.environments())


# In place of uv: writes what is asked for into a pylock, one package each.
UV = """
import sys, pathlib
given = pathlib.Path(sys.argv[-1]).read_text().split("\\n")
made = pathlib.Path(sys.argv[sys.argv.index("--output-file") + 1])
lines = []
for line in filter(None, given):
    name = line.split(">")[0].split("=")[0].split(";")[0].strip()
    url = f"https://files/{name}-1.0-py3-none-any.whl"
    lines.append(f'[[packages]]\\nname = "{name}"\\nversion = "1.0"\\n'
                 f'wheels = [{{url = "{url}", hashes = {{sha256 = "{"d" * 64}"}}}}]')
    if "torch" in line:
        lines.append(lines[-1].replace("torch", "nvidia_thing"))
        marker = "\\nmarker = \\"sys_platform == 'win32'\\""
        lines.append(lines[-1].replace("nvidia_thing", "windows") + marker)
made.write_text("\\n".join(lines) + "\\n")
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that asks no index."""
    folder = tmp_path / "modules" / "uv"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(UV)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    return folder


def test_locks_are_written_for_every_group(
    repository: Path, uv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch's libraries are in its lock alone, other systems' packages in none; what is left over goes."""
    pins = "packaging==1.0\npluggy==1.0\npip==1.0\nhatchling==1.0\ntorch==1.0\n"
    (repository / "constraints.txt").write_text(pins)
    (repository / "locks" / "former.txt").write_text("")
    assert lock_pins.main([], repository) == 0
    assert "former.txt (removed)" in capsys.readouterr().out
    written = {path.name: set(lock_pins.read(path)) for path in (repository / "locks").glob("*.txt")}
    assert written == {
        "torch.txt": {"torch", "nvidia-thing"},
        "build.txt": {"pip", "hatchling"},
        "client.txt": {"packaging"},
        "dev.txt": {"pluggy", "pip"},
    }
    assert lock_pins.main([], repository) == 0
    assert "every lock is as it was" in capsys.readouterr().out


def test_a_package_without_a_pin_is_named(
    repository: Path, uv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lock never has a version that constraints.txt does not name."""
    (repository / "constraints.txt").write_text("packaging==1.0\npip==1.0\nhatchling==1.0\ntorch==1.0\n")
    assert lock_pins.main([], repository) == 1
    assert "constraints.txt does not pin pluggy==1.0, which dev.txt needs" in capsys.readouterr().err


def test_markers_are_kept_where_they_tell_something() -> None:
    """What is needed on some of our machines only says so."""
    assert lock_pins.holds(Marker("python_version < '3.12'"), PLATFORM)
    assert not lock_pins.holds(Marker("sys_platform == 'win32'"), PLATFORM)


# In place of pip: notes its arguments and the requirements that it is given.
PIP = """
import json, os, pathlib, sys
files = [pathlib.Path(sys.argv[at + 1]).read_text() for at, word in enumerate(sys.argv) if word == "-r"]
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(json.dumps({"asked": sys.argv[1:], "files": files}) + chr(10))
"""


@pytest.mark.slow  # makes environments
@pytest.mark.parametrize(
    ("environment", "torch"),
    [
        ({"BABELCLIP_LOCKED": "but-torch"}, ["torch==2.13.0"]),
        (
            {"BABELCLIP_LOCKED": "but-torch", "BABELCLIP_TORCH_HASHES": "sha256:aa sha256:bb"},
            ["torch==2.13.0 --hash=sha256:aa --hash=sha256:bb\n"],
        ),
        ({"BABELCLIP_LOCKED": "all"}, [(REPOSITORY / "locks" / "torch.txt").read_text() if LOCKS else ""]),
        ({"BABELCLIP_LOCKED": "but-torch", "BABELCLIP_TORCH": "installed"}, []),
    ],
)
def test_setup_installs_by_hashes(environment: dict[str, str], torch: list[str], tmp_path: Path) -> None:
    """Every file has a hash but torch's, whose may be named; and an environment stays as it was made."""
    log, modules = tmp_path / "log", tmp_path / "modules" / "pip"
    modules.mkdir(parents=True)
    (modules / "__init__.py").write_text("")
    (modules / "__main__.py").write_text(PIP)
    given = {
        **os.environ,
        "BABELCLIP_VENV": str(tmp_path / "venv"),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(modules.parent),
        "PIP_LOG": str(log),
    }

    def setup(**more: str) -> list[dict[str, Any]]:
        command = [str(REPOSITORY / "scripts" / "setup"), "serve", "train"]
        done = subprocess.run(command, env={**given, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in log.read_text().splitlines() if "install" in line]

    calls = setup(**environment)
    assert all("--no-deps" in call["asked"] for call in calls)
    plain = [call["asked"][-1] for call in calls if "--require-hashes" not in call["asked"]]
    assert plain == (torch if torch == ["torch==2.13.0"] else []) + ["."]
    files = [text for call in calls for text in call["files"]]
    build, *own, client, serve, train = files
    assert own == (torch if torch != ["torch==2.13.0"] else [])
    assert [build, client, serve] == [
        (REPOSITORY / "locks" / f"{name}.txt").read_text() for name in ("build", "client", "serve")
    ]
    assert ("torchvision==" in train) is ("BABELCLIP_TORCH" not in environment)
    assert train.count("--hash") >= train.count("==")
    assert setup() == calls  # Nothing to do, though the variable is gone.


def test_another_word_is_refused(tmp_path: Path) -> None:
    """A typing error is no environment without hashes."""
    given = {**os.environ, "BABELCLIP_VENV": str(tmp_path / "venv"), "BABELCLIP_LOCKED": "yes"}
    done = subprocess.run([REPOSITORY / "scripts" / "setup"], env=given, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be all or but-torch, or not be set, not yes" in done.stderr


@pytest.mark.slow  # installs from an index
def test_pip_takes_a_lock(tmp_path: Path) -> None:
    """A lock is installed by its hashes as it stands, and one with another hash is refused."""
    lock = tmp_path / "lock.txt"
    shutil.copy(REPOSITORY / "locks" / "build.txt", lock)
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--no-compile"]
    done = subprocess.run([*words, "--target", tmp_path / "a", "-r", lock], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {path.name.partition("-")[0] for path in (tmp_path / "a").glob("*.dist-info")}
    assert {"hatchling", "pip"} <= found
    text = lock.read_text()
    first = text.partition("--hash=sha256:")[2][:64]
    lock.write_text(text.replace(first, "0" * 64))
    done = subprocess.run([*words, "--target", tmp_path / "b", "-r", lock], capture_output=True, text=True)
    assert done.returncode != 0
    assert "HASHES" in done.stderr.upper()
