"""Clients that people already have, unchanged, against a real gateway: what docs/dialects.md says of each."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
from pydantic import SecretStr

from tests.e2e.test_other_languages import tool
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.places import REPOSITORY

if TYPE_CHECKING:
    from langchain_openai import OpenAIEmbeddings

TEXTS = ["a red heart", "ein rotes Herz", "ቀይ ልብ"]
IMAGE = b"\x89PNG\r\n\x1a\n and some pixels?>"
URI = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
# As in the documentation: the address and key come from the environment, the answer goes to stdout.
SCRIPT = """
const answer = await fetch(`${process.env.GATEWAY}/v1/embeddings`, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json" },
  body: JSON.stringify({ model: "clip", input: JSON.parse(process.env.INPUT) }),
});
console.log(await answer.text());
"""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway; no test of this file changes what is behind it."""
    with gateway(Engine(), tmp_path_factory.mktemp("front")) as front:
        yield front


def vectors(front: Front, *items: str | bytes) -> np.ndarray:
    """What the engine gives for these items."""
    return np.array([front.engine.versions["1.0"].vector(item) for item in items])


def langchain(front: Front, **settings: Any) -> "OpenAIEmbeddings":
    """LangChain's embeddings of OpenAI, set to the gateway."""
    # Here, because its import takes seconds, in every process that collects the tests.
    from langchain_openai import OpenAIEmbeddings

    key, base_url = SecretStr(front.key), f"{front.addresses.http}/v1"
    return OpenAIEmbeddings(model="clip", base_url=base_url, api_key=key, max_retries=0, **settings)


def test_langchain_embeds(front: Front) -> None:
    """LangChain's vector stores get documents and queries embedded, images as data URIs too."""
    embeddings = langchain(front, check_embedding_ctx_length=False)
    np.testing.assert_allclose(
        embeddings.embed_documents([*TEXTS, URI]), vectors(front, *TEXTS, IMAGE), atol=1e-6
    )
    np.testing.assert_allclose(embeddings.embed_query("a"), vectors(front, "a")[0], atol=1e-6)

    async def run() -> list[list[float]]:
        async with httpx.AsyncClient() as caller:  # Its own is never closed.
            embeddings = langchain(front, check_embedding_ctx_length=False, http_async_client=caller)
            return await embeddings.aembed_documents(TEXTS)

    found = asyncio.run(run())
    np.testing.assert_allclose(found, vectors(front, *TEXTS), atol=1e-6)


def test_langchains_default_is_told_what_to_set(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it sends token ids of OpenAI's tokenizer, and the error says which setting stops that."""
    import tiktoken

    # OpenAI's tokenizer is downloaded where it is first used; any other one makes ids as well.
    letters = tiktoken.Encoding(
        "bytes", pat_str=".", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: letters)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        langchain(front).embed_documents(TEXTS)


def test_llama_index_embeds(front: Front) -> None:
    """LlamaIndex's class for servers of OpenAI's call embeds documents in batches, and queries."""
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    embeddings = OpenAILikeEmbedding(
        model_name="clip", api_base=f"{front.addresses.http}/v1", api_key=front.key, embed_batch_size=2
    )
    np.testing.assert_allclose(embeddings.get_text_embedding_batch(TEXTS), vectors(front, *TEXTS), atol=1e-6)
    np.testing.assert_allclose(embeddings.get_query_embedding("a"), vectors(front, "a")[0], atol=1e-6)


def test_nodes_fetch_embeds(front: Front) -> None:
    """A program in JavaScript needs no package of ours, nor of anyone."""
    given = {"GATEWAY": front.addresses.http, "KEY": front.key, "INPUT": json.dumps([*TEXTS, URI])}
    command = [tool("node"), "--input-type=module", "-e", SCRIPT]
    done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [row["embedding"] for row in json.loads(done.stdout)["data"]]
    np.testing.assert_allclose(rows, vectors(front, *TEXTS, IMAGE), atol=1e-6)


def test_the_documented_commands_of_curl_work(front: Front) -> None:
    """Each call of docs/dialects.md that begins with curl is answered by a program as it stands there."""
    if shutil.which("curl") is None:
        pytest.skip("this machine has no curl")
    guide = (REPOSITORY / "docs" / "dialects.md").read_text(encoding="utf-8")
    commands = [
        command.strip()
        for block in re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)
        for command in re.split(r"\n(?=curl )", block)
        if command.startswith("curl ")
    ]
    given = {**os.environ, "GATEWAY": front.addresses.http, "KEY": front.key}
    for command in commands:
        done = subprocess.run(["bash", "-c", command], env=given, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}{done.stdout}"
        assert "error" not in json.loads(done.stdout), f"{command}\n{done.stdout}"
    assert len(commands) >= 4
