"""The gateway as a process before a real TorchServe: OpenAI's SDK, health, and what the engine refuses."""

import base64
from collections.abc import Iterator

import cohere
import grpc
import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc

from babelclip import Client
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.gateways import Gateway, started
from tests.e2e.support import PATIENCE, Server

TEXTS = ["a red heart", "ein rotes Herz", "ቀይ ልብ"]


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the server of all tests."""
    with started(tmp_path_factory.mktemp("gateway"), server) as running:
        yield running


def uris(images: list[bytes]) -> list[str]:
    """Images as data URIs."""
    return [f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in images]


def test_both_towers_answer_at_one_address(server: Server, front: Gateway, images: list[bytes]) -> None:
    """OpenAI's SDK gets texts and images, mixed in one list, as babelclip's own client gets them."""
    with Client(server.http, token_file=server.token_file) as client:
        expected = np.concatenate([client.embed_texts(TEXTS).vectors, client.embed_images(images).vectors])
    with front.sdk() as sdk:
        answer = sdk.embeddings.create(model="mini", input=[*TEXTS, *uris(images)])
    vectors = np.array([row.embedding for row in answer.data], np.float32)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert answer.model == f"mini@{server.version}"
    assert answer.to_dict()["space"] == server.space


def test_a_broken_item_costs_only_itself(
    server: Server, front: Gateway, images: list[bytes], unharmed: None
) -> None:
    """With `"errors": "return"` the others have their vectors, and the tower's own words come through."""
    broken = uris([images[0][: len(images[0]) // 2], b"no image"])
    answer = front.post({"input": ["a cat", "", *broken, *uris(images)], "errors": "return"})
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    assert [row["index"] for row in rows if row["embedding"] is None] == [1, 2, 3]
    codes = [row["error"]["code"] for row in rows[1:4]]
    assert codes == ["empty_item", "image_truncated", "image_undecodable"]
    refused = front.post({"input": ["a cat", "", *broken]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "empty_item")
    assert "input[3]: " in refused.json()["error"]["message"]


def test_the_calls_of_others_give_the_same_vectors(
    server: Server, front: Gateway, images: list[bytes], unharmed: None
) -> None:
    """Cohere's SDK and Triton's client reach the same towers, and the tokens of the texts are counted."""
    with Client(server.http, token_file=server.token_file) as client:
        texts, pictures = client.embed_texts(TEXTS), client.embed_images(images)
    assert all(tokens > 2 for tokens in texts.tokens)
    with httpx.Client(timeout=60) as caller:
        sdk = cohere.ClientV2(front.key, base_url=front.addresses["http"], httpx_client=caller)
        found = sdk.embed(model="mini", texts=TEXTS, input_type="search_document")
        seen = sdk.embed(model="mini", images=uris(images), input_type="image")
    np.testing.assert_allclose(np.array(found.embeddings.float_), texts.vectors, atol=1e-4)
    np.testing.assert_allclose(np.array(seen.embeddings.float_), pictures.vectors, atol=1e-4)
    assert found.meta is not None
    assert found.meta.billed_units is not None
    assert found.meta.billed_units.input_tokens == sum(texts.tokens)
    inputs = []
    for name, items in (("text", TEXTS), ("image", images)):
        inputs.append(triton.InferInput(name, [len(items)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array(items, dtype=np.object_))
    address = front.addresses["http"].removeprefix("http://")
    with triton.InferenceServerClient(address, network_timeout=60) as caller:
        answer = caller.infer("mini", inputs, headers={"authorization": f"Bearer {front.key}"})
    np.testing.assert_allclose(answer.as_numpy("text_embedding"), texts.vectors, atol=1e-4)
    np.testing.assert_allclose(answer.as_numpy("image_embedding"), pictures.vectors, atol=1e-4)
    usage = front.post({"input": TEXTS}).json()["usage"]
    assert usage == {"prompt_tokens": sum(texts.tokens), "total_tokens": sum(texts.tokens)}


def test_a_text_of_too_many_tokens_is_said(front: Gateway) -> None:
    """It is OpenAI's error unless the caller lets it be cut."""
    with front.sdk() as sdk, pytest.raises(openai.BadRequestError) as caught:
        sdk.embeddings.create(model="mini", input="word " * 200)
    assert caught.value.code == "context_length_exceeded"
    cut = front.post({"input": "word " * 200, "truncate": True})
    assert cut.json()["truncated"] == [0]


def test_it_is_ready_with_the_servers_space(server: Server, front: Gateway) -> None:
    """Both towers' golden items are asked for through the gateway, and the space is the exported one."""
    answer = httpx.get(f"{front.addresses['http']}/readyz", timeout=60)
    assert answer.status_code == 200, answer.text
    described = answer.json()["models"]["mini"]
    assert described == {"status": "ready", "version": server.version, "space": server.space}


def test_grpc_gives_the_same_vectors(
    server: Server, front: Gateway, images: list[bytes], unharmed: None
) -> None:
    """The typed service has the items' own outcomes, as HTTP has, from the same towers."""
    with Client(server.http, token_file=server.token_file) as client:
        expected = np.concatenate([client.embed_texts(TEXTS).vectors, client.embed_images(images).vectors])
    items = [pb.Item(text=text) for text in TEXTS] + [pb.Item(image=image) for image in images]
    request = pb.EmbedItemsRequest(model="mini", items=[*items, pb.Item(image=b"no image")])
    with grpc.insecure_channel(front.addresses["grpc"].removeprefix("grpc://")) as channel:
        embed = channel.unary_unary(
            "/babelclip.v1.Embedder/Embed",
            request_serializer=pb.EmbedItemsRequest.SerializeToString,
            response_deserializer=pb.EmbedItemsResponse.FromString,
        )
        answer = embed(request, metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE)
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert any(state.status == health_pb2.HealthCheckResponse.SERVING for state in health)
        health.cancel()
    vectors = np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.dim)
    np.testing.assert_allclose(vectors[:-1], expected, atol=1e-4)
    assert not vectors[-1].any()
    assert [(error.index, error.code) for error in answer.errors] == [(len(items), "image_undecodable")]
    assert (answer.space, answer.model) == (server.space, f"mini@{server.version}")


def test_openais_largest_call_is_taken(server: Server, front: Gateway) -> None:
    """2,048 texts in one call come back in their order."""
    with Client(server.http, token_file=server.token_file) as client:
        expected = client.embed_texts(TEXTS).vectors
    with front.sdk() as sdk:
        answer = sdk.embeddings.create(model="mini", input=[TEXTS[index % 3] for index in range(2048)])
    vectors = np.array([row.embedding for row in answer.data], np.float32)
    np.testing.assert_allclose(vectors, np.resize(expected, vectors.shape), atol=1e-4)
