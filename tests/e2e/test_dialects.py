"""Clients that know nothing of babelclip, against a running server: OpenAI's SDK, KServe, plain forms."""

import base64
import gzip
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from babelclip import Client
from tests.e2e.support import Server

V2 = {"json": {"inputs": [{"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["a cat"]}]}}
GZIP = {"content-type": "text/plain", "content-encoding": "gzip"}
TEXTS = ["a red heart", "ein rotes Herz", "красное сердце"]


@pytest.fixture(scope="module")
def clean(server: Server, images: list[bytes]) -> dict[str, np.ndarray]:
    """The towers' vectors by babelclip's own client."""
    with Client(server.http, token_file=server.token_file) as client:
        return {"text": client.embed_texts(TEXTS).vectors, "vision": client.embed_images(images).vectors}


def sdk(server: Server, tower: str) -> openai.OpenAI:
    """OpenAI's SDK, set to a tower as docs/wire.md says."""
    base = f"{server.http}/predictions/{tower}/{server.version}/v1"
    return openai.OpenAI(base_url=base, api_key=server.key("inference"), max_retries=0)


@pytest.mark.parametrize("encoding", [openai.omit, "float", "base64"])
def test_openais_sdk_embeds_texts_and_images(
    server: Server, clean: dict[str, np.ndarray], images: list[bytes], encoding: Any
) -> None:
    """A program written for OpenAI's embeddings gets this server's vectors by a change of address."""
    uris = [f"data:image/*;base64,{base64.b64encode(image).decode()}".replace("*", "png") for image in images]
    for tower, inputs in (("text", TEXTS), ("vision", uris)):
        with sdk(server, tower) as client:
            answer = client.embeddings.create(model="any", input=inputs, encoding_format=encoding)
        vectors: list[Any] = [row.embedding for row in answer.data]
        if encoding == "base64":  # Asked for by name, it is handed on as it came.
            vectors = [np.frombuffer(base64.b64decode(str(row)), "<f4") for row in vectors]
        np.testing.assert_allclose(np.array(vectors, np.float32), clean[tower], atol=1e-4)
        assert answer.model == server.space
        assert (answer.usage.total_tokens > len(TEXTS)) is (tower == "text")


@pytest.mark.parametrize(
    ("inputs", "code"),
    [("word " * 200, "context_length_exceeded"), (["a", ""], "empty_item"), ([[1, 2]], "malformed_request")],
)
def test_openais_sdk_reads_the_errors(server: Server, inputs: Any, code: str) -> None:
    """The SDK raises its own error with the code and a sentence that says what was wrong."""
    with sdk(server, "text") as client, pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="any", input=inputs)
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"


def test_kserve_clients_are_served(
    server: Server, clean: dict[str, np.ndarray], images: list[bytes], unharmed: None
) -> None:
    """KServe's V1 address and body give predictions, and a bad instance costs only itself."""
    headers = {"authorization": f"Bearer {server.key('inference')}"}
    encoded = [base64.b64encode(image).decode() for image in images]
    for tower, items in (("text", TEXTS), ("vision", encoded)):
        body = {"instances": [items[0], {"data": items[1]}, {"b64": items[2]}, 7]}
        answer = httpx.post(
            f"{server.http}/v1/models/{tower}:predict", json=body, headers=headers, timeout=60
        )
        assert answer.status_code == 200, answer.text
        *rows, failed = answer.json()["predictions"]
        np.testing.assert_allclose(rows, clean[tower], atol=1e-4)
        assert failed is None
        assert [error["index"] for error in answer.json()["errors"]] == [3]


def test_forms_are_read_as_torchserves_handlers_read_them(
    server: Server, clean: dict[str, np.ndarray], images: list[bytes], tmp_path: Path
) -> None:
    """A multipart field, several of them, and a body in base64 each arrive as the images they hold."""
    headers = {"authorization": f"Bearer {server.key('inference')}"}
    url = f"{server.http}/predictions/vision"

    def rows(**sent: object) -> list[list[float]]:
        answer = httpx.post(url, timeout=60, **{"headers": headers, **sent})  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return answer.json()["embeddings"]  # type: ignore[no-any-return]

    one = rows(files={"data": ("a.jpg", images[0], "image/jpeg")})
    np.testing.assert_allclose(one, clean["vision"][:1], atol=1e-4)
    several = rows(files={name: (name, image) for name, image in zip("cab", images, strict=True)})
    np.testing.assert_allclose(several, clean["vision"], atol=1e-4)
    wrapped = base64.encodebytes(images[0])  # as the shell's base64 writes it
    for kind in ("text/plain", "application/octet-stream"):
        encoded = rows(content=wrapped, headers={**headers, "content-type": kind})
        np.testing.assert_allclose(encoded, clean["vision"][:1], atol=1e-4)
    for sent in ({"files": {"data": (None, wrapped)}}, {"data": {"data": wrapped.decode()}}):
        np.testing.assert_allclose(rows(**sent), clean["vision"][:1], atol=1e-4)


@pytest.mark.parametrize(
    ("path", "sent", "status", "says"),
    [
        ("/v2/models/text/infer", V2, 400, "KServe's V2 protocol"),
        ("/predictions/text", V2, 400, "KServe's V2 protocol"),
        ("/predictions/text", {"json": {"texts": ["a"], "input_type": "search_query"}}, 400, "Cohere"),
        ("/v1/models/text:explain", {"json": {"instances": ["a"]}}, 404, "explanations"),
        ("/explanations/text", {"json": {"inputs": ["a"]}}, 404, "explanations"),
        ("/predictions/text", {"content": gzip.compress(b"a cat"), "headers": GZIP}, 415, "uncompressed"),
    ],
)
def test_what_is_not_spoken_is_named(
    server: Server, path: str, sent: dict[str, Any], status: int, says: str, unharmed: None
) -> None:
    """A client of another protocol gets a 4xx with a sentence, not a success without a vector."""
    headers = {"authorization": f"Bearer {server.key('inference')}", **sent.get("headers", {})}
    answer = httpx.post(f"{server.http}{path}", timeout=60, **{**sent, "headers": headers})
    assert answer.status_code == status
    assert says in answer.text


@pytest.mark.parametrize("path", ["/models/text/invoke", "/invocations?model_name=text"])
def test_sagemakers_addresses_answer(server: Server, clean: dict[str, np.ndarray], path: str) -> None:
    """No caller waits for an answer that never comes, whichever address of TorchServe it takes."""
    headers = {"authorization": f"Bearer {server.key('inference')}"}
    answer = httpx.post(f"{server.http}{path}", json={"inputs": TEXTS}, headers=headers, timeout=60)
    np.testing.assert_allclose(answer.json()["embeddings"], clean["text"], atol=1e-4)


def test_openais_largest_call_is_taken(server: Server, clean: dict[str, np.ndarray]) -> None:
    """2,048 texts in one call come back in their order."""
    with sdk(server, "text") as client:
        answer = client.embeddings.create(model="any", input=[TEXTS[index % 3] for index in range(2048)])
    vectors = np.array([row.embedding for row in answer.data], np.float32)
    np.testing.assert_allclose(vectors, np.resize(clean["text"], vectors.shape), atol=1e-4)


def test_an_unknown_path_is_not_found(server: Server) -> None:
    """Whoever mistypes OpenAI's address is told what is there."""
    headers = {"authorization": f"Bearer {server.key('inference')}"}
    url = f"{server.http}/predictions/text/{server.version}/v1/embedding"
    answer = httpx.post(url, json={"input": "a"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")


def test_a_body_without_its_content_type_is_explained(server: Server) -> None:
    """What curl -d sends by default is no text body, and the answer says what is missing."""
    headers = {
        "authorization": f"Bearer {server.key('inference')}",
        "content-type": "application/x-www-form-urlencoded",
    }
    answer = httpx.post(f"{server.http}/predictions/text", content=b"a cat", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
