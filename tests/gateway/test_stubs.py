"""Clients in other languages, made from the proto file alone, against a running gateway."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_tools import protoc

from tests.gateway.front import Front, gateway
from tests.gateway.scored import CALIBRATION, engine
from tests.places import REPOSITORY

STUBS = Path(__file__).with_name("stubs")
PACKAGES = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
LIBRARIES = ("grpc++", "protobuf")
# Of `test_scoring.VECTORS`; the calls are those of the programs in `stubs`.
EXPECTED = """\
models clip 1.0 in-memory
embed 3 0.995 0.100 0.000 2:image_undecodable
stream 0.995 0.100
similarity 0.995 0.100
classify dog -
rerank 1 0
refused 16
"""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a calibration."""
    folder = tmp_path_factory.mktemp("front")
    CALIBRATION.save(folder / "calibration.json")
    with gateway(engine(), folder, calibrations=(str(folder / "calibration.json"),)) as front:
        yield front


def program(name: str) -> str:
    """Where a program is: on the path, or beside this Python; the test is skipped where it is not."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"there is no {name} on this machine")
    return found


def output(*words: str | Path, folder: Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(list(map(str, words)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python_calls_the_service(front: Front, tmp_path: Path) -> None:
    """A Python program needs the proto file and grpcio, and neither babelclip nor this repository."""
    made = [f"-I{REPOSITORY}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    assert protoc.main(["", *made, "gateway/rpc/embedder.proto"]) == 0
    shutil.copy(STUBS / "client.py", tmp_path)
    address = front.addresses.grpc.removeprefix("grpc://")
    assert output(sys.executable, "client.py", address, front.key, folder=tmp_path) == EXPECTED


@pytest.mark.slow
def test_node_calls_the_service(front: Front, tmp_path: Path) -> None:
    """JavaScript loads the proto file as it is, and gets the answers of every call."""
    node = program("node")
    install = [program("npm"), "install", "--no-audit", "--no-fund", *PACKAGES]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the packages of npm cannot be had: {done.stderr.strip()[-200:]}")
    shutil.copy(STUBS / "client.js", tmp_path)
    address = front.addresses.grpc.removeprefix("grpc://")
    assert output(node, "client.js", address, front.key, REPOSITORY, folder=tmp_path) == EXPECTED


@pytest.mark.slow
def test_cpp_calls_the_service(front: Front, tmp_path: Path) -> None:
    """A compiled language has the same messages from the proto file, absent fields included."""
    protoc, plugin = program("protoc"), program("grpc_cpp_plugin")
    compiler, config = program("g++"), program("pkg-config")
    flags = subprocess.run([config, "--cflags", "--libs", *LIBRARIES], capture_output=True, text=True)
    if flags.returncode:
        pytest.skip("the libraries of gRPC for C++ are not installed")
    generate = [f"-I{REPOSITORY}", "--cpp_out=.", "--grpc_out=.", f"--plugin=protoc-gen-grpc={plugin}"]
    output(protoc, *generate, "gateway/rpc/embedder.proto", folder=tmp_path)
    sources: list[str | Path] = [
        "gateway/rpc/embedder.pb.cc",
        "gateway/rpc/embedder.grpc.pb.cc",
        STUBS / "client.cc",
    ]
    output(compiler, "-std=c++17", "-I.", *sources, "-o", "client", *flags.stdout.split(), folder=tmp_path)
    address = front.addresses.grpc.removeprefix("grpc://")
    assert output(tmp_path / "client", address, front.key, folder=tmp_path) == EXPECTED
