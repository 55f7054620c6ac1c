"""A client in Python, from embedder.proto alone: python client.py HOST:PORT KEY

Prints a line for each call of the service. Beside it stands what protoc has made; babelclip is not needed.
"""

import struct
import sys

import grpc

from gateway.rpc import embedder_pb2 as pb
from gateway.rpc import embedder_pb2_grpc  # type: ignore[attr-defined]  # protoc makes it for this program

address, key = sys.argv[1:]
stub = embedder_pb2_grpc.EmbedderStub(grpc.insecure_channel(address))
given = {"metadata": (("authorization", f"Bearer {key}"),), "timeout": 60}


def image(value: str) -> pb.Item:
    """An image, as the engine of the test knows it."""
    return pb.Item(image=value.encode())


def vectors(response: pb.EmbedItemsResponse) -> list[float]:
    """The values of all vectors, one after the other."""
    return [value for (value,) in struct.iter_unpack("<f", response.vectors)]


def say(call: str, *values: object) -> None:
    """One line."""
    print(call, *(f"{value:.3f}" if isinstance(value, float) else value for value in values))


(model,) = list(stub.Models(pb.ModelsRequest(), **given).models)[:1]
say("models", model.name, model.version, model.space)

items = [image("a picture of a cat"), pb.Item(text="cat"), image("no picture")]
embedded = stub.Embed(pb.EmbedItemsRequest(items=items), **given)
(error,) = embedded.errors
say("embed", embedded.dim, *vectors(embedded)[:3], f"{error.index}:{error.code}")

requests = [
    pb.EmbedItemsRequest(items=[image(each)]) for each in ("a picture of a cat", "a picture of a dog")
]
say("stream", *(vectors(response)[0] for response in stub.EmbedStream(iter(requests), **given)))

pairs = pb.SimilarityRequest(
    queries=[image("a picture of a cat")], candidates=[pb.Item(text="cat"), pb.Item(text="dog")]
)
say("similarity", *stub.Similarity(pairs, **given).cosines)

pictures = [image("a picture of a dog"), image("a picture of a car")]
classified = stub.Classify(pb.ClassifyRequest(items=pictures, labels=["cat", "dog"]), **given)
say("classify", *(each.label if each.HasField("label") else "-" for each in classified.classifications))

documents = [pb.Item(text="dog"), pb.Item(text="cat")]
ranked = stub.Rerank(pb.RerankRequest(query=pb.Item(text="cat"), documents=documents), **given)
say("rerank", *(result.index for result in ranked.results))

try:
    stub.Models(pb.ModelsRequest(), metadata=(("authorization", "Bearer wrong"),), timeout=60)
except grpc.RpcError as refused:
    say("refused", refused.code().value[0])
