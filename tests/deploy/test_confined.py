"""The containers' entry point, confined as by an engine, in this machine's own Python."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy import confinement
from tests.deploy.confinement import Tree
from tests.deploy.dockerfile import environment, stages
from tests.deploy.serving import check_confined, check_serving, check_stop, wait_ready
from tests.places import REPOSITORY
from tests.shared import mini_store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GB = 1 << 30


def own_tree() -> Tree:
    """The image `cpu` of this machine's folders: what the stage `files` copies, and this environment."""
    folders = {}
    for rest in stages()["files"].all("COPY"):
        *sources, target = rest.split()
        for source in sources:
            place = f"/opt/babelclip/{source if target == './' else target}"
            folders[place] = REPOSITORY / source
    folders["/opt/babelclip/venv"] = Path(sys.prefix)
    links = {}
    for name in ("bin", "sbin", "lib", "lib64"):
        shared = Path("/", name)
        if shared.is_symlink():
            links[f"/{name}"] = os.readlink(shared)
        elif shared.is_dir():
            folders[f"/{name}"] = shared
    folders |= {"/usr": Path("/usr"), "/etc": Path("/etc")}
    # Packages may lie elsewhere than in the environment.
    elsewhere = [Path(sys.prefix), Path(sys.prefix).resolve(), Path(sys.base_prefix), *map(Path, sys.path)]
    folders |= {str(path): path for path in elsewhere if path.is_dir() and not path.is_relative_to("/usr")}
    kept = environment("cpu")
    del kept["HOME"]  # Not every engine sets it.
    return Tree(root=None, folders=folders, links=links, environment=kept)


def test_it_serves_and_stops(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """From nothing to the golden item and to a clean end, with all that an engine may take away taken away.

    The root is read-only, the user unknown and without a home, /dev/shm has 64 MB, there is no network and,
    where this machine allows control groups, one core and 3 GB.
    """
    if reason := confinement.why_not():
        pytest.skip(reason)
    limited = not confinement.can_limit()
    state, running = tmp_path / "state", tmp_path / "run"
    state.mkdir()
    running.mkdir()
    init = ["tini", "--"] if shutil.which("tini") else []
    with confinement.run(
        own_tree(),
        [*init, "/opt/babelclip/deploy/containers/entrypoint"],
        scratch=tmp_path,
        writable={"/var/lib/babelclip": state, "/run/babelclip": running},
        readable={"/models": mini_store(tmp_path_factory)},
        cores=1.0 if limited else None,
        memory=3 * GB if limited else None,
    ) as container:
        serving = wait_ready(container)
        check_confined(container)
        check_serving(serving)
        check_stop(serving)
    assert (state / "keys.json").stat().st_uid == confinement.UID


def test_another_command_is_run_in_place_of_serving(tmp_path: Path) -> None:
    """Keys are added and archives looked at by the same image: its first word is then a command."""
    if reason := confinement.why_not():
        pytest.skip(reason)
    state = tmp_path / "state"
    state.mkdir()
    with confinement.run(
        own_tree(),
        ["/opt/babelclip/deploy/containers/entrypoint", "babelclip", "keys", "add", "shop"],
        scratch=tmp_path,
        writable={"/var/lib/babelclip": state},
        readable={},
    ) as container:
        status, printed = container.wait_ended()
    assert status == 0, printed
    assert "bck_" in printed
