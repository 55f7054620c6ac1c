"""One call of a gateway, over HTTP or gRPC, for the modules of k6 that stand in `k6_modules`.

A request in JSON comes by standard input, its answer goes to standard output.
"""

import json
import sys
from typing import Any

import grpc
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict

from gateway.rpc.embedder_pb2 import EmbedItemsRequest, EmbedItemsResponse
from tests.e2e.support import PATIENCE


def over_http(asked: dict[str, Any]) -> dict[str, Any]:
    """The status and the body."""
    found = httpx.post(asked["url"], content=asked["body"], headers=asked["headers"], timeout=PATIENCE)
    return {"status": found.status_code, "body": found.text}


def over_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    """The status as a number, and the message."""
    assert asked["plaintext"]
    with grpc.insecure_channel(asked["target"]) as channel:
        call = channel.unary_unary(
            f"/{asked['method']}",
            request_serializer=EmbedItemsRequest.SerializeToString,
            response_deserializer=EmbedItemsResponse.FromString,
        )
        request = ParseDict(asked["message"], EmbedItemsRequest())
        try:
            answer = call(request, metadata=tuple(asked["metadata"].items()), timeout=PATIENCE)
        except grpc.RpcError as error:
            return {"status": error.code().value[0], "message": None}
    # As k6 has it, with the fields that have no value.
    shown = MessageToDict(answer, always_print_fields_with_no_presence=True)
    return {"status": 0, "message": shown}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(over_http(given) if "url" in given else over_grpc(given), sys.stdout)
