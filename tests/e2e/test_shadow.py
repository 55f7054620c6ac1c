"""A candidate whose fault its canary does not show is found in the shadow of the version that serves."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.support import launched
from tests.places import SAMPLES

RESIZED = "mode=mode, antialias=True)"
# Red and blue change places in every image that is resized, which the canary is not.
PLANTED = RESIZED + ".flip(1)"


@pytest.fixture
def with_candidates(store: Path, tmp_path: Path) -> Path:
    """A store with the versions 1.0; 2.0, the same again; and 3.0, with a bug in the preprocessing."""
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (served,) = manifest["spaces"]
    for version in ("2.0", "3.0"):
        entry = {**served, "name": f"mini-{version}", "version": version, "default": False}
        for tower in ("text", "vision"):
            archive = folder / f"{version}-{tower}.mar"
            with (
                zipfile.ZipFile(folder / served[tower]["mar"]) as before,
                zipfile.ZipFile(archive, "w") as after,
            ):
                for name in before.namelist():
                    content = before.read(name)
                    if name == "MAR-INF/MANIFEST.json":
                        assert b'"1.0"' in content
                        content = content.replace(
                            b'"modelVersion": "1.0"', f'"modelVersion": "{version}"'.encode()
                        )
                    if name == "handlers/preprocess/fast.py" and version == "3.0":
                        assert content.count(RESIZED.encode()) == 1
                        content = content.replace(RESIZED.encode(), PLANTED.encode())
                    after.writestr(name, content)
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            entry[tower] = {"mar": archive.name, "sha256": digest}
        manifest["spaces"].append(entry)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_bug_in_the_preprocessing_is_reported(with_candidates: Path, tmp_path: Path) -> None:
    """Both candidates pass their canaries; the shadow passes the sound one and finds the other's fault."""
    names = json.loads((SAMPLES / "captions.json").read_text(encoding="utf-8"))["names"]
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(list(names["en"].values())[:60]), encoding="utf-8")
    options = ("--store", with_candidates, "--run-dir", tmp_path / "run", "--ports", "auto")
    with launched(*options) as launcher:
        server = launcher.wait_ready()
        # On a busy machine latencies mean nothing.
        command = [sys.executable, "-m", "babelclip", "shadow", str(SAMPLES), "--texts", str(texts)]
        command += ["--url", server.grpc, "--token-file", str(server.token_file), "--max-latency", "1000"]
        sound, faulty = (
            subprocess.run([*command, "--candidate", version, "--json"], capture_output=True, text=True)
            for version in ("2.0", "3.0")
        )
    assert sound.returncode == 0, sound.stdout + sound.stderr
    found = json.loads(sound.stdout)
    assert (found["promote"], found["same_space"]) == (True, True)
    assert min(found["cosine"].values()) > 0.999
    assert faulty.returncode == 1, faulty.stdout + faulty.stderr
    found = json.loads(faulty.stdout)
    (reason,) = found["reasons"]
    assert reason.startswith("1 % of the image vectors have a cosine of at most")
    assert found["cosine"]["text"] > 0.999
