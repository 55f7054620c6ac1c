"""Texts and images in, vectors out, by every door of a running server."""

import asyncio
import base64
import io
import json
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from babelclip import AsyncClient, Client, similarity
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.metrics import ClientMetrics
from tests.e2e.support import PATIENCE, Server, embed, post, predict

TEXTS = ["a red heart", "un chat noir", "赤いハート", "قلب أحمر", "красное сердце"]
TRANSPORTS = ("http", "grpc")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of `a` [N, D] with the same row of `b`: [N]."""
    found: np.ndarray = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_texts_and_images_become_unit_vectors_of_one_space(
    server: Server, images: list[bytes], transport: str
) -> None:
    """A caller gets one unit vector an item, both towers in the space that the server announced."""
    with Client(server.url(transport), token_file=server.token_file) as client:
        texts, pictures = client.embed_texts(TEXTS), client.embed_images(images)
    assert texts.space == pictures.space == server.space
    assert texts.vectors.shape[0] == len(TEXTS)
    assert pictures.vectors.shape == (len(images), texts.dim)
    for embedded in (texts, pictures):
        assert not embedded.errors
        np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1.0, atol=1e-4)
    assert similarity(texts, pictures).shape == (len(TEXTS), len(images))


def test_http_and_grpc_give_the_same_vectors(server: Server, images: list[bytes]) -> None:
    """A service that changes its transport keeps its index."""
    found = []
    for transport in TRANSPORTS:
        with Client(server.url(transport), token_file=server.token_file) as client:
            found.append(np.vstack([client.embed_texts(TEXTS).vectors, client.embed_images(images).vectors]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_order_of_a_large_call_is_kept(server: Server, images: list[bytes], transport: str) -> None:
    """Items split into messages by the client and into batches by the handler keep the caller's order."""
    order = np.random.default_rng(3).integers(0, len(images), 90)
    with Client(server.url(transport), token_file=server.token_file, max_message_bytes=70_000) as client:
        single = client.embed_images(images).vectors
        many = client.embed_images([images[i] for i in order]).vectors
    assert np.all(cosines(many, single[order]) > 0.999)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_hedged_message_is_answered_once(server: Server, transport: str) -> None:
    """A message that was sent a second time gives its caller one vector an item, the same and in order."""
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    sent = {kind: CollectorRegistry() for kind in ("blocking", "asynchronous")}

    def hedging(kind: str) -> dict[str, Any]:
        metrics = ClientMetrics(sent[kind])
        return {"token_file": server.token_file, "hedge_after": 0.001, "metrics": metrics}

    async def patient() -> np.ndarray:
        async with AsyncClient(server.url(transport), **hedging("asynchronous")) as client:
            return (await client.embed_texts(texts)).vectors

    with Client(server.url(transport), token_file=server.token_file) as client:
        single = client.embed_texts(texts).vectors
    with Client(server.url(transport), **hedging("blocking")) as client:
        found = [client.embed_texts(texts).vectors]
        give_up = time.monotonic() + PATIENCE
        while requests_by_outcome(sent["blocking"]) != {"ok": 2}:  # nobody waited for the second answer
            assert time.monotonic() < give_up, requests_by_outcome(sent["blocking"])
            time.sleep(0.05)
    found.append(asyncio.run(patient()))
    # The slower one is cancelled, on its way or while the server computes.
    assert sum(requests_by_outcome(sent["asynchronous"]).values()) == 2
    assert requests_by_outcome(sent["asynchronous"])["ok"] >= 1
    for vectors in found:
        np.testing.assert_allclose(vectors, single, atol=1e-5)


def requests_by_outcome(registry: CollectorRegistry) -> dict[str, int]:
    """How many requests the metrics of a client counted, by outcome."""
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return {s.labels["outcome"]: int(s.value) for s in samples if s.name == "babelclip_client_requests_total"}


def test_an_image_has_the_same_vector_in_every_form_it_can_be_sent(
    server: Server, images: list[bytes]
) -> None:
    """Raw body, base64, data URI, an entry of plain gRPC, bytes or pixels: the way never changes a vector."""
    png = images[1]
    text = base64.b64encode(png).decode()
    as_json = json.dumps({"inputs": [text, f"data:image/png;base64,{text}"], "space": server.space}).encode()
    rows = post(server, "vision", as_json, "application/json").json()["embeddings"]
    rows += post(server, "vision", png, "image/png").json()["embeddings"]
    rows += post(server, "vision", png, "application/octet-stream").json()["embeddings"]
    rows.append(np.frombuffer(predict(server, "vision", data=png).vectors, "<f4"))
    rows.append(np.frombuffer(predict(server, "vision", body=png).vectors, "<f4"))
    with Client(server.http, token_file=server.token_file) as client:
        opened = Image.open(io.BytesIO(png))
        rows += list(client.embed_images([png, opened, np.asarray(opened)]).vectors)
    stacked = np.array(rows, dtype=np.float32)
    assert np.all(cosines(stacked, np.broadcast_to(stacked[0], stacked.shape)) > 0.999)


def test_a_text_has_the_same_vector_in_every_form_it_can_be_sent(server: Server) -> None:
    """Plain text, JSON (a list or one string), an entry of plain gRPC: the way never changes a vector."""
    text = "ein rotes Herz ❤"
    rows = post(server, "text", text.encode(), "text/plain; charset=utf-8").json()["embeddings"]
    for inputs in (text, [text]):
        body = json.dumps({"inputs": inputs}).encode()
        rows += post(server, "text", body, "application/json").json()["embeddings"]
    rows.append(np.frombuffer(predict(server, "text", data=text.encode()).vectors, "<f4"))
    with Client(server.grpc, token_file=server.token_file) as client:
        rows += list(client.embed_texts([text]).vectors)
    stacked = np.array(rows, dtype=np.float32)
    assert np.all(cosines(stacked, np.broadcast_to(stacked[0], stacked.shape)) > 0.999)


def test_json_reads_as_documented(server: Server) -> None:
    """The JSON answer has the documented keys and a vector an item; who accepts protobuf gets protobuf."""
    body = json.dumps({"inputs": ["a", "b"]}).encode()
    response = post(server, "text", body, "application/json")
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    keys = ["space", "version", "dim", "logit_scale", "embeddings", "errors", "truncated", "unknown"]
    assert list(answer) == keys
    assert [len(row) for row in answer["embeddings"]] == [answer["dim"]] * 2
    binary = post(server, "text", body, "application/json", accept="application/x-protobuf")
    assert binary.headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_version_can_be_named(server: Server, transport: str) -> None:
    """A caller that insists on a version and a space gets vectors as long as both are served."""
    client = Client(
        server.url(transport), token_file=server.token_file, version=server.version, space=server.space
    )
    with client:
        assert len(client.embed_texts(TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_long_text_is_cut_and_said_to_be(server: Server, transport: str) -> None:
    """A text beyond the token limit has a vector, and its caller is told that the end was not read."""
    answer = embed(server, transport, "text", EmbedRequest(texts=[b"short", b"a long story about " * 200]))
    assert list(answer.truncated) == [1]
    assert not answer.errors


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_text_of_unknown_letters_is_said_to_be(server: Server, transport: str) -> None:
    """Hieroglyphs have a vector, all of them the same one, and their callers are told so."""
    with Client(server.url(transport), token_file=server.token_file) as client:
        assert client.embed_texts(["a cat", "𓀀𓀁", "ꙮꙮ", "кот"]).unknown == (1, 2)
