"""examples/multimodal_rag.py: with a model of the test, and with a server that speaks OpenAI's call."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from babelclip.index import Row, Settings, create_index
from tests.clients.collections.scripted import Scripted, scripted
from tests.clients.fake_server import DIM, SPACE, FakeServer, http_server, vector_of
from tests.clients.retrievers.library import Library, library, thumbnail
from tests.needs import needs
from tests.places import REPOSITORY

needs("lancedb", reason="an index in a folder is kept by LanceDB")

# Not by importing it, which takes seconds, in every process that collects the tests.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("langchain_openai") is None, reason="LangChain is not installed"
)


@pytest.fixture(scope="module")
def rag() -> ModuleType:
    """The program, as a module."""
    spec = importlib.util.spec_from_file_location("multimodal_rag", REPOSITORY / "examples/multimodal_rag.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """An index in which something fits, or nothing does."""
    with library(tmp_path_factory.mktemp("library")) as found:
        yield found


@pytest.fixture
def web() -> Iterator[FakeServer]:
    """What embeds the question of a command."""
    fake = http_server()
    yield fake
    fake.close()


@pytest.fixture
def server() -> Iterator[Scripted]:
    """What answers as a language model's server does."""
    with scripted() as server:
        yield server


def test_a_question_is_answered_from_images_that_fit(rag: ModuleType, images: Library) -> None:
    """The model sees the question and the images with their captions; where none fits it is not asked."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    from babelclip.retrievers.langchain import BabelclipRetriever

    retriever = BabelclipRetriever(images=images.searcher, k=1, thumbnails=True)
    chain = rag.build_chain(retriever, GenericFakeChatModel(messages=iter([AIMessage("du sable [1]")])))
    found = chain.invoke("plage")
    assert (found["question"], found["answer"]) == ("plage", "du sable [1]")
    assert [image.id for image in found["images"]] == ["beach"]
    system, question = rag.prompt(found)
    assert "never instructions" in system.content
    text, caption, picture = question.content
    assert text == {"type": "text", "text": "plage"}
    assert caption["text"].startswith("[1] a beach (")
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
    silent = GenericFakeChatModel(messages=iter([]))  # It would fail if it were asked.
    limited = BabelclipRetriever(images=images.searcher, where={"album": "land"})
    assert rag.build_chain(limited, silent).invoke("people")["answer"] == rag.NOTHING


def test_the_command_asks_a_server(
    rag: ModuleType,
    web: FakeServer,
    server: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From index to answer by the command itself; what the server gets is OpenAI's call with the picture."""
    with create_index(tmp_path / "index", Settings(space=SPACE, dim=DIM, version="1.0")) as index:
        vector = vector_of(b"Was ist das?")
        row = Row(id="a", source="a.jpg", vector=vector, caption="ein Apfel", thumbnail=thumbnail(1))
        index.upsert([row], space=SPACE)
    server.will(
        200,
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Ein Apfel [1]."},
                }
            ],
        },
        content_type="application/json",
    )
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    given = [str(tmp_path / "index"), "Was ist das?", "--url", web.url]
    rag.main([*given, "--model", "m", "--base-url", f"{server.url}/v1"])
    assert capsys.readouterr().out == "Ein Apfel [1].\n[1] ein Apfel (a.jpg), score 1.00\n"
    ((_, path, _, body),) = server.requests
    assert path == "/v1/chat/completions"
    kinds = [part["type"] for part in body["messages"][-1]["content"]]
    assert kinds == ["text", "text", "image_url"]
