"""What a start hands on of its surroundings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import LaunchError
from serving.environment import check_paths, forget_proxies, passed_on
from tests.places import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


def test_what_would_change_the_server_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Python's libraries, another Java, and settings that TorchServe takes from the environment."""
    for name in ("PYTHONPATH", "PYTHONHOME", "JAVA_HOME", "TS_CONFIG_FILE", "TS_INFERENCE_ADDRESS"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
    kept = passed_on()
    assert not {"PYTHONPATH", "PYTHONHOME", "JAVA_HOME", "TS_CONFIG_FILE", "TS_INFERENCE_ADDRESS"} & set(kept)
    assert kept["BABELCLIP_DTYPE"] == "float32"


@pytest.mark.parametrize("name", ["C", "POSIX", "xx_XX.UTF-8"])
def test_java_is_given_a_locale_that_has_all_letters(name: str) -> None:
    """In the C locale, and in one that is not installed, it would not find a folder that Python finds."""
    code = "from serving.environment import passed_on; print(passed_on()['LC_ALL'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, env={**os.environ, "LC_ALL": name}, capture_output=True
    )
    chosen = done.stdout.decode().strip()
    assert chosen, done.stderr
    shown = subprocess.run(["locale", "charmap"], env={**os.environ, "LC_ALL": chosen}, capture_output=True)
    assert shown.stdout == b"UTF-8\n"


def test_a_path_that_java_cannot_open_is_refused() -> None:
    """Bytes that are no UTF-8 reach Java as something else; letters of any alphabet are fine."""
    check_paths([Path("/srv/Mes modèles 模型")])
    with pytest.raises(LaunchError, match=r"xe8les.*another name"):
        check_paths([Path(os.fsdecode(b"/srv/mod\xe8les"))])


def test_no_proxy_comes_between_a_server_and_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are forgotten, in either case of letters."""
    for name in ("http_proxy", "HTTPS_PROXY", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    forget_proxies()
    assert not [name for name in os.environ if name.lower().endswith("_proxy")]
