"""A text tower that is told the language of a text: by which requests, and what it makes of them."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, processors

from handlers.clip_text import TextHandler
from handlers.embedding_pb2 import EmbedRequest
from tests.handlers.conftest import DIM, LIMITS, VOCABULARY
from tests.handlers.worker import Reply, Worker, grpc, http

GOOD = "a red heart"
ENGLISH, BENGALI = VOCABULARY.index("star"), VOCABULARY.index("blue")
PROTOBUF = "application/x-protobuf"


def request(*texts: str, **fields: Any) -> bytes:
    return EmbedRequest(texts=[text.encode() for text in texts], **fields).SerializeToString()


def vectors(reply: Reply) -> np.ndarray:
    return np.frombuffer(reply.message.vectors, dtype="<f4").reshape(-1, DIM)


@pytest.fixture(scope="module")
def told(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker whose tokenizer begins each text with a language: English, unless it is told Bengali."""
    folder = Path(shutil.copytree(text_folder, tmp_path_factory.mktemp("told") / "text"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="star $A </s>", special_tokens=[("star", ENGLISH), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    path = folder / "meta.json"
    meta = json.loads(path.read_text())
    meta["text"]["languages"] = {"default": "eng_Latn", "tokens": {"eng_Latn": ENGLISH, "ben_Beng": BENGALI}}
    path.write_text(json.dumps(meta))
    (reply,) = Worker(TextHandler, folder, dict(LIMITS)).send(grpc(request=request(GOOD)))
    meta["canary"]["vector"] = base64.b64encode(reply.message.vectors).decode()
    path.write_text(json.dumps(meta))
    return Worker(TextHandler, folder, dict(LIMITS))


def expected(told: Worker, language: int, words: str = GOOD) -> np.ndarray:
    """What the program makes of the ids of a text in a language."""
    ids = np.array([[language, *map(VOCABULARY.index, words.split()), 2]])
    found: np.ndarray = told.handler.runner(ids, np.ones_like(ids))
    return found


@pytest.mark.parametrize(
    ("language", "token"), [("", ENGLISH), ("en", ENGLISH), ("bn", BENGALI), ("ben_Beng", BENGALI)]
)
def test_a_text_stands_beside_the_token_of_its_language(told: Worker, language: str, token: int) -> None:
    """In protobuf and in JSON, and without a language beside that of the default."""
    as_json = json.dumps({"inputs": [GOOD], "language": language}).encode()
    replies = told.send(
        grpc(request=request(GOOD, language=language)),
        http(as_json, "application/json", accept=PROTOBUF),
    )
    for reply in replies:
        assert not reply.message.errors
        np.testing.assert_allclose(vectors(reply), expected(told, token), atol=1e-6)
    assert np.abs(expected(told, ENGLISH) - expected(told, BENGALI)).max() > 0.01


def test_requests_of_several_languages_share_a_batch(told: Worker) -> None:
    """Each has the vectors of its own language, whichever stood beside it."""
    bengali, english, none = told.send(
        grpc(request=request(GOOD, "ein Herz", language="bn")),
        grpc(request=request(GOOD, language="en-GB")),
        grpc(data=GOOD.encode()),
    )
    np.testing.assert_allclose(vectors(bengali)[:1], expected(told, BENGALI), atol=1e-6)
    np.testing.assert_allclose(vectors(bengali)[1:], expected(told, BENGALI, "ein Herz"), atol=1e-6)
    np.testing.assert_allclose(vectors(english), expected(told, ENGLISH), atol=1e-6)
    np.testing.assert_allclose(vectors(none), expected(told, ENGLISH), atol=1e-6)


def test_a_language_that_the_tower_lacks_costs_its_texts_alone(told: Worker) -> None:
    """Each text fails with the list of what is allowed; other requests of the batch do not."""
    wrong, right = told.send(
        grpc(request=request(GOOD, "heart", language="tlh")), grpc(request=request(GOOD, language="bn"))
    )
    assert [(error.index, error.code) for error in wrong.message.errors] == [
        (0, "unknown_language"),
        (1, "unknown_language"),
    ]
    message = wrong.message.errors[0].message
    assert "'tlh' is none of this model's; leave it out for en, or send one of bn, en" in message
    assert not wrong.message.HasField("error")
    assert not right.message.errors


def test_a_tower_that_is_told_no_language_passes_it_over(text: Worker) -> None:
    """A program that always sends one works with every model."""
    plain, named = text.send(grpc(request=request(GOOD)), grpc(request=request(GOOD, language="tlh")))
    assert not named.message.errors
    np.testing.assert_array_equal(vectors(plain), vectors(named))


def test_the_canary_tells_what_there_is(told: Worker, text: Worker) -> None:
    """A gateway asks it, and lists the languages; the default is the first."""
    asked = grpc(request=EmbedRequest(canary=True).SerializeToString())
    (reply,) = told.send(asked)
    assert list(reply.message.languages) == ["en", "bn"]
    assert len(reply.message.vectors) == 4 * DIM
    (other,) = text.send(asked)
    assert not other.message.languages


def test_kserves_instances_are_in_the_language_beside_them(told: Worker) -> None:
    """KServe's V1 call says it of all of its instances; one that is no string refuses the request."""
    said, wrong = (
        http(json.dumps({"instances": [GOOD], "language": language}).encode(), "application/json")
        for language in ("bn", 7)
    )
    answer, refused = told.send(said, wrong)
    np.testing.assert_allclose(json.loads(answer.body)["predictions"], expected(told, BENGALI), atol=1e-6)
    assert refused.status == 400
    assert '"language" must be a string' in json.loads(refused.body)["error"]


def test_a_language_that_is_no_string_refuses_the_request(told: Worker) -> None:
    """JSON of another kind is no tag that merely is not known."""
    (reply,) = told.send(http(json.dumps({"inputs": [GOOD], "language": 7}).encode(), "application/json"))
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["message"] == '"language" must be a string'
