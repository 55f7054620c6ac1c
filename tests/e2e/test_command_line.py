"""The published command line, from the built wheel alone, against a real server."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from babelclip import Client
from tests.e2e.support import Server


def test_the_wheels_command_embeds(
    server: Server, wheel_bin: Path, images: list[bytes], tmp_path: Path
) -> None:
    """`babelclip embed`, installed from the wheel, gives the vectors that the client gives."""
    for number, image in enumerate(images):
        (tmp_path / f"{number}.img").write_bytes(image)
    names = [f"{number}.img" for number in range(len(images))]
    environment = {**os.environ, "BABELCLIP_URL": server.grpc, "BABELCLIP_TOKEN_FILE": str(server.token_file)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [wheel_bin / "babelclip", "embed", "--image", *names, "--output", "vectors.npy"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with Client(server.http, token_file=server.token_file) as client:
        expected = client.embed_images(images).vectors
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-4)


def test_the_wheels_command_embeds_a_text(server: Server, wheel_bin: Path, tmp_path: Path) -> None:
    """The wheel alone turns a text into the vector of the server's space."""
    environment = {**os.environ, "BABELCLIP_URL": server.http, "BABELCLIP_TOKEN_FILE": str(server.token_file)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [wheel_bin / "babelclip", "embed", "ein Hund", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.space in done.stdout
    with Client(server.grpc, token_file=server.token_file) as client:
        expected = client.embed_texts(["ein Hund"]).vectors
    np.testing.assert_allclose(json.loads(done.stdout)["embeddings"], expected, atol=1e-4)


def test_the_wheels_command_says_which_item_failed(server: Server, wheel_bin: Path, tmp_path: Path) -> None:
    """A file that is no image comes with the server's reason, and the exit status says items failed."""
    (tmp_path / "notes.txt").write_text("no image")
    environment = {**os.environ, "BABELCLIP_URL": server.http, "BABELCLIP_TOKEN_FILE": str(server.token_file)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [wheel_bin / "babelclip", "embed", "--json", "--image", "notes.txt"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "image_undecodable" in json.dumps(json.loads(done.stdout))
