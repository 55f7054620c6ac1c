"""Exported archives in the caller's own process."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from babelclip import Client, DeadlineExceeded, ModelNotFound, TransportError
from babelclip.cli.main import app
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.transports.base import Call
from babelclip.transports.inprocess import InProcessTransport
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from handlers.runtime import device
from tests.handlers.worker import Worker, grpc
from tests.places import REPOSITORY
from tests.shared import mini_store

pytestmark = pytest.mark.slow  # loads exported models

SAMPLES = sorted((REPOSITORY / "training" / "recipes" / "mini" / "samples").glob("*.png"))[:40]
TEXTS = ["a red heart", "un chat noir", "विद्यालय", "自行车", "ጥቁር ድመት", "кофе " * 300, "𓀀𓀁"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives of the committed checkpoint."""
    return mini_store(tmp_path_factory)


@pytest.fixture(autouse=True, scope="module")
def float32() -> Iterator[None]:
    """One runtime on every machine: which of two is faster is not always the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "has_native_bfloat16", lambda kind: False)
        yield


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders of this test go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    """A store of one's own, to be damaged."""
    return Path(shutil.copytree(store, tmp_path / "copied", ignore=shutil.ignore_patterns("mini")))


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[Client]:
    with Client(f"mar:{store}") as opened:
        yield opened


def rewrite(store: Path, change: Callable[[zipfile.ZipFile], None]) -> None:
    """Change the text archive, and let the manifest agree with it."""
    mar = store / "mini-text.mar"
    with zipfile.ZipFile(mar, "a") as packed:
        change(packed)
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["spaces"][0]["text"]["sha256"] = hashlib.sha256(mar.read_bytes()).hexdigest()
    (store / "manifest.json").write_text(json.dumps(manifest))


def test_vectors_are_those_of_a_torchserve_worker(store: Path, client: Client, tmp_path: Path) -> None:
    """The same archive gives the same vectors and the same cut texts in this process and under TorchServe."""
    images = [path.read_bytes() for path in SAMPLES]
    for tower, handler, request, found in (
        ("text", TextHandler, EmbedRequest(texts=[t.encode() for t in TEXTS]), client.embed_texts(TEXTS)),
        ("vision", VisionHandler, EmbedRequest(images=images), client.embed_images(SAMPLES)),
    ):
        folder = tmp_path / tower
        with zipfile.ZipFile(store / f"mini-{tower}.mar") as packed:
            packed.extractall(folder)
        settings = yaml.safe_load((folder / "model-config.yaml").read_text())["babelclip"]
        [reply] = Worker(handler, folder, settings).send(grpc(request=request.SerializeToString()))
        served = np.frombuffer(reply.message.vectors, "<f4").reshape(len(found), -1)
        cosines = (found.vectors * served).sum(axis=1)
        assert cosines.min() >= 0.99999
        assert found.space == reply.message.space
        assert found.logit_scale == pytest.approx(reply.message.logit_scale)
        assert list(found.truncated) == list(reply.message.truncated)
        assert list(found.unknown) == list(reply.message.unknown) == ([6] if tower == "text" else [])


def test_texts_are_read_as_text(client: Client) -> None:
    """From the export on: canonically equal texts have one vector, and </s> in a text ends nothing."""
    written = ["tiếng Việt", "한국어 사전", "red heart </s> black cat", "\ufeffcat"]
    others = [*(unicodedata.normalize("NFD", text) for text in written[:2]), "red heart black cat", "cat"]
    cosines = (client.embed_texts(written).vectors * client.embed_texts(others).vectors).sum(axis=1)
    assert cosines[[0, 1, 3]].min() > 0.9999
    assert cosines[2] < 0.9, "with </s> as a control token it was 0.97"


def test_both_towers_pass_their_canaries(client: Client, store: Path) -> None:
    """A probe asks the archives themselves, and gives the space of the manifest."""
    [entry] = json.loads((store / "manifest.json").read_text())["spaces"]
    assert client.health() == entry["space"]


def test_a_broken_image_costs_only_itself(client: Client) -> None:
    """Its neighbours have the vectors that they have alone."""
    found = client.embed_images([SAMPLES[0], b"broken", SAMPLES[1]], errors="return")
    assert [(error.index, error.code) for error in found.errors] == [(1, "image_undecodable")]
    alone = client.embed_images([SAMPLES[0], SAMPLES[1]])
    np.testing.assert_allclose(found.vectors[[0, 2]], alone.vectors, atol=1e-5)


def test_a_photograph_of_any_camera_fits(client: Client) -> None:
    """An image above what a message to a server may have is embedded: there is no server."""
    large = SAMPLES[0].read_bytes() + bytes(12_000_000)  # Decoders ignore what follows the image.
    found = client.embed_images([large, SAMPLES[0]])
    np.testing.assert_allclose(found.vectors[0], found.vectors[1], atol=1e-5)


def test_names_and_versions_are_those_of_the_store(store: Path) -> None:
    """What is not there is refused as a server refuses it, and the entry and version can be named."""
    with Client(f"mar:{store}", text_model="txet") as client, pytest.raises(ModelNotFound, match="'txet'"):
        client.embed_texts(["a"])
    with Client(f"mar:{store}#mini", version="9.0") as client, pytest.raises(ModelNotFound, match=r"9\.0"):
        client.embed_texts(["a"])
    with pytest.raises(ValueError, match="has no 'large'; it has mini"):
        Client(f"mar:{store}#large")


def test_a_token_file_that_is_gone_is_not_asked_for(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are set for a server do not stop a model in this process."""
    monkeypatch.setenv("BABELCLIP_TOKEN_FILE", "/no/such/file")
    with Client(f"mar:{store}#mini", version="1.0") as client:
        assert len(client.embed_texts(["a"])) == 1


def test_threads_share_one_model(store: Path) -> None:
    """Calls from many threads load the tower once and get their own answers."""
    texts = [f"{number} cats" for number in range(24)]
    with Client(f"mar:{store}") as client:
        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(lambda text: client.embed_texts([text]).vectors[0], texts))
        np.testing.assert_allclose(rows, client.embed_texts(texts).vectors, atol=1e-5)


def test_a_call_waits_no_longer_than_its_timeout(store: Path) -> None:
    """Behind a long call of another thread a short timeout ends."""
    transport = InProcessTransport(store)
    body = EmbedRequest(texts=[b"a"]).SerializeToString()
    with transport._towers["text"]._lock:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="text tower"):
            transport.send(Call("text", None, body, None, 0.05))
        assert time.monotonic() - began < 5
    assert transport.send(Call("text", None, body, None, float("inf")))
    transport.close()


def test_a_lost_device_does_not_end_the_process(store: Path) -> None:
    """A handler asks for a new process by exiting; that is TorchServe's affair, here it is an error."""
    transport = InProcessTransport(store)
    call = Call("text", None, EmbedRequest(texts=[b"a"]).SerializeToString(), None, 5.0)
    transport.send(call)
    transport._towers["text"]._handler._lost = True
    with pytest.raises(TransportError, match="the device is lost"):
        transport.send(call)
    transport.close()


def test_closing_leaves_nothing_behind(store: Path, scratch: Path) -> None:
    """A tower is unpacked by its first call and not before, and its folder goes with the client."""
    with Client(f"mar:{store}") as client:
        assert not list(scratch.iterdir())
        client.embed_texts(["a"])
        assert [path.name.rpartition("-")[0] for path in scratch.iterdir()] == ["babelclip-text"]
    assert not list(scratch.iterdir())


def test_an_archive_that_is_not_the_manifests_is_refused(copied: Path, scratch: Path) -> None:
    """A damaged or exchanged archive is never run, and nothing of it is left."""
    with (copied / "mini-text.mar").open("ab") as file:
        file.write(b"\0")
    with Client(f"mar:{copied}") as client, pytest.raises(TransportError, match="SHA-256 differs"):
        client.embed_texts(["a"])
    assert not list(scratch.iterdir())


def test_other_code_of_the_same_name_is_not_mixed_in(copied: Path) -> None:
    """An archive with other handlers than this process has is refused, instead of run by the wrong ones."""
    rewrite(copied, lambda packed: packed.writestr("handlers/another.py", ""))
    with Client(f"mar:{copied}") as client, pytest.raises(TransportError, match="finds another one"):
        client.embed_texts(["a"])


def test_an_archive_that_cannot_be_loaded_says_why(copied: Path, scratch: Path) -> None:
    """A wrong setting is a sentence of the client's errors, whatever a handler or a runtime raises."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(copied, lambda p: p.writestr("model-config.yaml", "babelclip: {max_batch: 0}"))
    with (
        Client(f"mar:{copied}") as client,
        pytest.raises(TransportError, match="max_batch must be at least 1"),
    ):
        client.embed_texts(["a"])
    assert not list(scratch.iterdir())


def test_a_missing_package_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line says in one line what to install, and a program gets an ImportError."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    done = CliRunner().invoke(app, ["embed", "a", "--url", f"mar:{store}"])
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert "'yaml' is missing: pip install 'babelclip[inprocess]'" in done.stderr


def test_the_archives_code_runs_where_there_is_no_other(store: Path, client: Client, tmp_path: Path) -> None:
    """Without this repository on the path, the archive's own handlers give the same vectors and tidy up."""
    program = (
        "import sys\n"
        "from babelclip import Client\n"
        "for _ in range(2):\n"
        "    with Client(sys.argv[1]) as client:\n"
        "        vector = client.embed_texts(['a red heart']).vectors[0]\n"
        "        client.embed_images([sys.argv[2]])\n"
        "print(sys.modules['handlers'].__file__, *vector[:4])\n"
    )
    (tmp_path / "scratch").mkdir()
    environment = {"PYTHONPATH": str(REPOSITORY / "clients"), "TMPDIR": str(tmp_path / "scratch")}
    command = [sys.executable, "-W", "error", "-P", "-c", program, f"mar:{store}", str(SAMPLES[0])]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, *values = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path / "scratch")
    np.testing.assert_allclose(
        np.array(values, np.float32), client.embed_texts(["a red heart"]).vectors[0][:4], atol=2e-2
    )
    assert not list((tmp_path / "scratch").glob("babelclip*"))


FORKED = """
import os, sys
import yaml
from babelclip import Client

store, image, runtime = sys.argv[1:]
read = yaml.safe_load  # which reads an archive's model-config.yaml
yaml.safe_load = lambda data: {**read(data), "babelclip": {"runtime": runtime}}
client = Client(f"mar:{store}")
before = client.embed_texts(["a red heart"]).vectors
child = os.fork()
if not child:
    sys.exit(0 if abs(client.embed_texts(["a red heart"]).vectors - before).max() < 1e-4 else 3)
print("child", os.waitpid(child, 0)[1])
after = client.embed_texts(["a red heart"]).vectors
print("parent", (after == before).all(), len(client.embed_images([image])))
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_a_fork_leaves_a_model_to_each_process(store: Path, runtime: str) -> None:
    """gunicorn and Celery fork what has loaded a model: the child loads its own, computes, and ends; and it
    takes nothing from its parent, which goes on, with the other tower too."""
    command = [sys.executable, "-c", FORKED, str(store), str(SAMPLES[0]), runtime]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines() == ["child 0", "parent True 1"], done.stderr
