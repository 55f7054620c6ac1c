"""The generated protocol code: up to date, the same everywhere, and TorchServe's own on the wire."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from babelclip.transports import torchserve_pb2
from tests.places import REPOSITORY

PACKAGE = REPOSITORY / "clients" / "babelclip"
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"


def without_versions(code: str) -> str:
    """Generated code without the version of its compiler, which the installed one need not share."""
    code = code.replace("_Optional[bool]", "bool")  # Newer compilers allow None where a bool goes.
    code = re.sub(r"^# Protobuf Python Version: .*$", "", code, flags=re.MULTILINE)
    return re.sub(r"(Domain\.PUBLIC,\n)    \d+,\n    \d+,\n    \d+,\n", r"\1", code)


@pytest.mark.parametrize("name", ["embedding", "transports/torchserve"])
def test_generated_code_is_current(name: str, tmp_path: Path) -> None:
    """A changed .proto whose code was not regenerated (scripts/proto) is noticed."""
    arguments = [
        "",
        f"--proto_path={REPOSITORY / 'clients'}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    assert protoc.main([*arguments, f"babelclip/{name}.proto"]) == 0
    for file in (f"{name}_pb2.py", f"{name}_pb2.pyi"):
        made = (tmp_path / "babelclip" / file).read_text()
        assert without_versions(made) == without_versions((PACKAGE / file).read_text()), file


@pytest.mark.parametrize("file", ["embedding_pb2.py", "embedding_pb2.pyi"])
def test_handlers_hold_the_same_code(file: str) -> None:
    """The server and the client cannot drift apart in the wire format."""
    assert (REPOSITORY / "handlers" / file).read_bytes() == (PACKAGE / file).read_bytes()


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_client_and_handlers_share_one_process(implementation: str) -> None:
    """A program that imports both copies gets one set of classes, not an error about a second definition."""
    program = (
        "import handlers.embedding_pb2 as a, babelclip.embedding_pb2 as b\n"
        "assert a.EmbedRequest is b.EmbedRequest\n"
        "assert b.EmbedRequest.FromString(a.EmbedRequest(texts=[b'x']).SerializeToString()).texts == [b'x']\n"
    )
    environment = {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation,
    }
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True)


def torchserve_files(tmp_path: Path) -> list[descriptor_pb2.FileDescriptorProto]:
    """TorchServe's own definitions, from the server's jar, with all they import."""
    wheel = importlib.util.find_spec("ts")
    if wheel is None or not wheel.submodule_search_locations:
        pytest.skip("TorchServe is not installed")
    with zipfile.ZipFile(Path(wheel.submodule_search_locations[0], "frontend", "model-server.jar")) as jar:
        for name in ("proto/inference.proto", "proto/management.proto", "google/rpc/status.proto"):
            jar.extract(name, tmp_path)
    output = tmp_path / "set"
    arguments = ["", f"--proto_path={tmp_path}", f"--proto_path={WELL_KNOWN}", "--include_imports"]
    arguments += [f"--descriptor_set_out={output}", "proto/inference.proto", "proto/management.proto"]
    assert protoc.main(arguments) == 0
    return list(descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file)


def test_fields_are_those_of_torchserve(tmp_path: Path) -> None:
    """Our own definitions of TorchServe's messages agree with the real ones in every number and type."""
    theirs = {m.name: m for file in torchserve_files(tmp_path) for m in file.message_type}
    for name, ours in torchserve_pb2.DESCRIPTOR.message_types_by_name.items():
        fields = {f.name: f for f in theirs[name].field}
        for field in ours.fields:
            real = fields[field.name]
            assert (field.number, field.type) == (real.number, real.type), f"{name}.{field.name}"
            assert field.is_repeated == (real.label == real.LABEL_REPEATED), f"{name}.{field.name}"


def test_torchserve_stubs_fit_beside_ours(tmp_path: Path) -> None:
    """A program that also uses TorchServe's own stubs can load both, and they read each other's bytes."""
    stubs = tmp_path / "stubs"
    files = descriptor_pb2.FileDescriptorSet(file=torchserve_files(tmp_path))
    stubs.write_bytes(files.SerializeToString())
    program = (
        "import sys\n"
        "from google.protobuf import descriptor_pb2, descriptor_pool, message_factory\n"
        "from babelclip.transports import torchserve_pb2\n"
        "pool = descriptor_pool.Default()\n"
        "for file in descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[1], 'rb').read()).file:\n"
        "    pool.AddSerializedFile(file.SerializeToString())\n"
        "name = 'org.pytorch.serve.grpc.inference.PredictionsRequest'\n"
        "theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))\n"
        "ours = torchserve_pb2.PredictionsRequest(\n"
        "    model_name='text', model_version='1.0', input={'request': b'x'}\n"
        ")\n"
        "read = theirs.FromString(ours.SerializeToString())\n"
        "assert (read.model_name, read.model_version) == ('text', '1.0')\n"
        "assert dict(read.input) == {'request': b'x'}\n"
    )
    # In a process of its own: the pool is one for all, and other tests have put files of these names into it.
    environment = {"PYTHONPATH": str(REPOSITORY / "clients")}
    subprocess.run([sys.executable, "-c", program, str(stubs)], env=environment, check=True)
