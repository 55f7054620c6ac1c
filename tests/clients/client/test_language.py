"""The language of texts on its way: said once, sent with every message, and told by `health`."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from babelclip import AsyncClient, Client, ItemErrors
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.errors import UNKNOWN_LANGUAGE
from babelclip.shadow.shadow import Shadow
from babelclip.testing import InMemoryTransport
from tests.guides import blocks, run_block

TEXTS = [f"text {number}" for number in range(300)]


def sent(transport: InMemoryTransport) -> list[EmbedRequest]:
    return [EmbedRequest.FromString(call.body) for call in transport.calls]


def test_every_message_of_a_call_says_it() -> None:
    """What does not fit into one message is in the same language."""
    transport = InMemoryTransport(languages=["bn", "en"])
    with Client("unused", transport=transport) as client:
        found = client.embed_texts(TEXTS, language="bn")
        parts = list(client.stream_texts(TEXTS, language="bn"))
    np.testing.assert_array_equal(found.vectors[299], transport.vector_in("bn", "text 299"))
    np.testing.assert_array_equal(parts[-1].vectors[-1], transport.vector_in("bn", "text 299"))
    assert len(sent(transport)) > 2
    assert {request.language for request in sent(transport)} == {"bn"}


def test_an_asynchronous_client_says_it_too() -> None:
    """Of a call and of a stream."""
    transport = InMemoryTransport(languages=["bn", "en"])

    async def embed() -> list[np.ndarray]:
        async with AsyncClient("unused", transport=transport.asynchronous()) as client:
            one = await client.embed_texts(["a"], language="bn")
            parts = [part async for part in client.stream_texts(["a"], language="en")]
            return [one.vectors[0], parts[0].vectors[0]]

    bengali, english = asyncio.run(embed())
    np.testing.assert_array_equal(bengali, transport.vector_in("bn", "a"))
    np.testing.assert_array_equal(english, transport.vector_in("en", "a"))


def test_without_one_nothing_is_sent() -> None:
    """A server of before gets what it always got."""
    transport = InMemoryTransport()
    with Client("unused", transport=transport) as client:
        client.embed_texts(["a"])
        client.embed_images([b"x"])
    assert [request.language for request in sent(transport)] == ["", ""]


def test_one_that_the_model_lacks_is_an_error_of_its_items() -> None:
    """The call ends as with any item that fails."""
    transport = InMemoryTransport(languages=["bn"])
    with Client("unused", transport=transport) as client:
        found = client.embed_texts(["a", "b"], language="tlh", errors="return")
        assert [error.code for error in found.errors] == [UNKNOWN_LANGUAGE] * 2
        with pytest.raises(ItemErrors):
            client.embed_texts(["a"], language="tlh")
        assert client.embed_texts(["a"]).ok.all()


def test_health_tells_the_languages() -> None:
    """Of a model that is told one; of others there are none."""
    with Client("unused", transport=InMemoryTransport(languages=["en", "bn"])) as client:
        assert not client.languages
        client.health()
        assert client.languages == ("bn", "en")
    with Client("unused", transport=InMemoryTransport()) as client:
        client.health()
        assert not client.languages


@pytest.mark.parametrize(
    ("language", "error"), [("x" * 65, ValueError), ("ベンガル", ValueError), (7, TypeError)]
)
def test_what_can_be_no_tag_is_the_callers_mistake(language: object, error: type[Exception]) -> None:
    """It is said before anything is sent."""
    transport = InMemoryTransport()
    with Client("unused", transport=transport) as client, pytest.raises(error, match="a language must be"):
        client.embed_texts(["a"], language=language)  # type: ignore[arg-type]
    assert not transport.calls


def test_a_shadow_is_asked_in_the_same_language() -> None:
    """Else a candidate would be compared by other vectors than its own."""
    served = InMemoryTransport(languages=["bn"])
    candidate = InMemoryTransport(languages=["bn"], version="2.0")
    with (
        Client("unused", transport=candidate, version="2.0") as other,
        Shadow(other, share=1.0, wait=True) as shadow,
        Client("unused", transport=served, shadow=shadow) as client,
    ):
        client.embed_texts(["a"], language="bn")
    assert [request.language for request in sent(candidate)] == ["bn"]


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of docs/languages.md runs as it stands."""
    for language, code in blocks("languages.md"):
        run_block(language, code, tmp_path, monkeypatch)
