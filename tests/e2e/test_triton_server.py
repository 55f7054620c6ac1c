"""The model repository in a real Triton Inference Server: the one inside NVIDIA's PyTriton wheel.

It has ensembles, the dynamic batcher and the Python backend, but no ONNX Runtime backend: the towers'
programs run in a Python model (triton_tower.py), under their own configs otherwise.
"""

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from export import golden, parity, triton
from models import checkpoint
from serving.settings import free_ports
from tests.e2e.support import PATIENCE
from tests.places import MINI

WHEEL = "nvidia-pytriton==0.7.0"  # Triton 2.51, whose Python backend is of before numpy 2
PACKAGES = ("numpy<2", "onnxruntime")
LIBPYTHON = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY"))

pytestmark = [
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the wheel is for Linux on x86-64"
    ),
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no numpy 1 for this Python"),
    pytest.mark.skipif(LIBPYTHON.suffix == ".a", reason="this Python is no shared library"),
]


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Triton:
    client: InferenceServerClient
    log: Path

    def embed(self, model: str, name: str, items: list[bytes]) -> np.ndarray:
        array = np.array(items, dtype=object).reshape(-1, 1)
        given = InferInput(name, array.shape, "BYTES")
        given.set_data_from_numpy(array)
        vectors: np.ndarray = self.client.infer(model, [given]).as_numpy("VECTOR")
        return vectors


@pytest.fixture(scope="module")
def loaded() -> checkpoint.Checkpoint:
    return checkpoint.load(MINI)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, store: Path, loaded: checkpoint.Checkpoint) -> Path:
    """The written repository, its towers moved to the Python backend."""
    work = tmp_path_factory.mktemp("triton")
    towers = {tower: store / "mini" / tower for tower in ("text", "vision")}  # where the export left programs
    triton.write(work / "models", loaded, towers)
    for tower in ("text", "vision"):
        folder = work / "models" / f"mini_{tower}_tower"
        config = (folder / "config.pbtxt").read_text(encoding="utf-8")
        config = config.replace('"onnxruntime"', '"python"').replace("program.onnx", "model.py")
        (folder / "config.pbtxt").write_text(config, encoding="utf-8")
        shutil.copy(Path(__file__).with_name("triton_tower.py"), folder / "1" / "model.py")
    return work / "models"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Triton]:
    """Triton, ready: it has read every config, loaded every model and warmed the towers up."""
    work = tmp_path_factory.mktemp("server")
    environment = work / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    # The pip of this environment installs into that one. Of what it brings little is ever imported.
    pip = (sys.executable, "-m", "pip", "-q", "--python", environment / "bin" / "python")
    run(*pip, "install", "--no-compile", *PACKAGES, "-r", models / "requirements.txt")
    run(*pip, "download", "--no-deps", "-d", work, WHEEL)
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(work / "wheel")
    home = work / "wheel" / "pytriton" / "tritonserver"
    backend = home / "backends" / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    for program in (home / "bin" / "tritonserver", backend / "triton_python_backend_stub"):
        program.chmod(0o755)
    http, grpc, metrics, *_ = free_ports().values()
    command: list[str | Path] = [
        *(home / "bin" / "tritonserver", f"--model-repository={models}"),
        f"--backend-directory={home / 'backends'}",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        *(f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"),
        "--exit-timeout-secs=5",
    ]
    # The Python backend runs in the environment whose python is the first on the path.
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "LD_LIBRARY_PATH": str(LIBPYTHON.parent)}
    log = work / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            _wait_ready(f"http://127.0.0.1:{http}", process, log)
            with InferenceServerClient(f"127.0.0.1:{grpc}") as client:
                yield Triton(client, log)
        finally:
            process.terminate()


def _wait_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(log.read_text(encoding="utf-8"))


def test_every_model_is_served_and_names_its_space(server: Triton, loaded: checkpoint.Checkpoint) -> None:
    """Protects loading: Triton reads the configs, accepts the ensembles and tells clients the space."""
    for tower in ("text", "vision"):
        for part in triton.PARTS[tower]:
            config = server.client.get_model_config(f"mini_{part}").config
            assert config.parameters["space"].string_value == loaded.meta["space"]


@pytest.mark.parametrize(
    ("tower", "name", "items"),
    [
        ("text", "TEXT", [text.encode() for text in golden.texts().values()]),
        ("vision", "IMAGE", list(golden.images().values())),
    ],
)
def test_strings_and_images_become_the_checkpoints_vectors(
    server: Triton, loaded: checkpoint.Checkpoint, tower: str, name: str, items: list[bytes]
) -> None:
    """Protects vectors on their whole way through Triton, one item a request and many callers at once."""
    reference = parity.Golden(loaded, tower).reference
    with ThreadPoolExecutor(16) as callers:
        found = list(callers.map(lambda item: server.embed(f"mini_{tower}", name, [item]), items))
    assert (np.concatenate(found) * reference).sum(1).min() >= 0.9999
    rows = [int(rows) for rows in re.findall(r"pass of (\d+) rows", server.log.read_text(encoding="utf-8"))]
    assert sum(1 < count < min(triton.MAX_BATCH.values()) for count in rows)  # others are of the warm-up


def test_a_bad_image_costs_its_own_request(server: Triton) -> None:
    """Protects other callers' requests in the same batch, and the code and sentence of the error."""
    whole = golden.images()["jpeg"]

    def embed(item: bytes) -> str:
        try:
            return str(server.embed("mini_vision", "IMAGE", [item]).shape)
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    with ThreadPoolExecutor(16) as callers:
        found = list(callers.map(embed, [whole, whole[:2000], whole] * 16))
    assert found[0::3] == found[2::3] == ["(1, 256)"] * 16
    sentence = "the image ends too early, after 2,000 bytes; send the whole file"
    expected = f"StatusCode.INVALID_ARGUMENT in ensemble 'mini_vision', image_truncated: {sentence}"
    assert found[1::3] == [expected] * 16
