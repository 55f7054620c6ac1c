"""`python -m babelclip.ray_serve`: what its options say, and what it keeps from others."""

from pathlib import Path

import pytest

from babelclip.ray_serve.__main__ import main, parse_options, ray_arguments, resources_of
from babelclip.ray_serve.cluster import token_environment, write_token
from babelclip.ray_serve.resources import Resources
from babelclip.transports.ray_handles import first_line, import_ray


def test_options_are_the_resources_of_a_replica() -> None:
    """Nothing that was said is lost on the way, nor when it is passed on to another process."""
    words = ["--replicas", "2", "--max-replicas", "5", "--replica-cpus", "1.5", "--replica-gpus", "0.25"]
    options = parse_options([*words, "--address", "auto"])
    assert resources_of(options) == Resources(replicas=2, max_replicas=5, cpus=1.5, gpus=0.25)
    assert vars(parse_options(ray_arguments(options))) == vars(options)


def test_a_change_of_a_cluster_needs_one_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that ends with the command would end what it left."""
    for words in (["--once"], ["--remove", "1.0"]):
        with pytest.raises(SystemExit):
            parse_options(words)
        assert "by --address" in capsys.readouterr().err


def test_a_store_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found before a cluster is started."""
    assert main(["--store", str(tmp_path / "none"), "--run-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"ray_serve: {tmp_path / 'none'} is no model store")


def test_a_token_is_new_each_time_and_its_owners_alone(tmp_path: Path) -> None:
    """Who read an old one may not join, and no other user reads the new one."""
    path = write_token(tmp_path / "run" / "ray_token")
    first = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first) == 64
    assert write_token(path).read_text() != first
    assert token_environment(path) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def test_an_error_of_ray_is_one_line() -> None:
    """Ray's errors hold the stack traces of other processes, which are nobody's business."""
    error = RuntimeError("it broke\n  File x, line 1")
    assert first_line(error) == "it broke"
    wrapped = RuntimeError("ray::task()\n  File y")
    wrapped.cause = ValueError("what broke")  # type: ignore[attr-defined]
    assert first_line(wrapped) == "what broke"
    assert first_line(KeyError()) == "KeyError"


def test_a_missing_package_is_named_with_its_remedy() -> None:
    """`import babelclip` works without Ray, and who needs it is told what to install."""
    with pytest.raises(ImportError, match=r"pip install 'ray\[serve\]'"):
        import_ray("ray_that_is_not_there")
