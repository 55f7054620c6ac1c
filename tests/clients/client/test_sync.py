"""The client against a real server, over HTTP and over gRPC."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip import (
    AuthenticationError,
    BabelclipError,
    Backoff,
    Call,
    Client,
    DeadlineExceeded,
    ItemError,
    ItemErrors,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    SpaceMismatch,
    TransportError,
    Unavailable,
    concatenate,
)
from babelclip.client.items import ImageInput
from tests.clients.fake_server import DIM, SPACE, FakeServer, vector_of

QUICK = Backoff(attempts=3, base=0.01)


def test_texts_and_images_come_back_in_order(server: FakeServer) -> None:
    """Every vector is that of its own item, in the tower it belongs to."""
    with Client(server.url) as client:
        texts = client.embed_texts(["a cat", "eine Katze", "猫"])
        images = client.embed_images([b"one", b"two"])
    expected = [vector_of(text.encode()) for text in ("a cat", "eine Katze", "猫")]
    np.testing.assert_array_equal(texts.vectors, expected)
    np.testing.assert_array_equal(images.vectors, [vector_of(b"one"), vector_of(b"two")])
    assert (texts.space, texts.dim, texts.logit_scale) == (SPACE, DIM, 20.0)
    assert [model for model, _, _ in server.requests] == ["text", "vision"]


def test_many_items_are_split_and_reassembled(server: FakeServer) -> None:
    """A call of any size is one result, sent in messages that the server takes."""
    texts = [f"text {number}" for number in range(600)]
    with Client(server.url) as client:
        result = client.embed_texts(texts)
    np.testing.assert_array_equal(result.vectors, [vector_of(text.encode()) for text in texts])
    assert sorted(len(request.texts) for _, _, request in server.requests) == [88, 256, 256]


def test_messages_stay_below_the_limit(server: FakeServer) -> None:
    """Large images go out in several messages, none above `max_message_bytes`."""
    images = [bytes([number]) * 40_000 for number in range(5)]
    with Client(server.url, max_message_bytes=100_000) as client:
        result = client.embed_images(images)
    assert result.ok.all()
    assert sorted(len(request.images) for _, _, request in server.requests) == [1, 2, 2]
    assert max(request.ByteSize() for _, _, request in server.requests) <= 100_000


def test_what_is_too_large_for_the_server_is_sent_in_smaller_messages(server: FakeServer) -> None:
    """A proxy takes less than was thought: nothing is lost but the item that is too large by itself."""
    server.largest_body = 100_000
    images = [bytes([number]) * (150_000 if number == 7 else 30_000) for number in range(20)]
    with Client(server.url) as client:
        result = client.embed_images(images, errors="return")
        assert [(error.index, error.code) for error in result.errors] == [(7, "image_too_many_bytes")]
        assert "max_message_bytes" in result.errors[0].message
        expected = [vector_of(image) for image in images]
        np.testing.assert_array_equal(result.vectors[result.ok], np.array(expected)[result.ok])
        # It is learnt once: a later call is in messages of the right size.
        calls, taken = len(server.metadata), len(server.requests)
        assert client.embed_images(images[:6]).ok.all()
        assert len(server.metadata) - calls == len(server.requests) - taken
    assert max(request.ByteSize() for _, _, request in server.requests) <= 100_000


def test_a_large_image_has_a_message_for_itself(server: FakeServer) -> None:
    """One photograph may be larger than messages of many; one that no server takes is refused unsent."""
    images = [b"x" * 2_000_000, b"y" * 20_000_000, b"z" * 2_000_000, b"w" * 33_000_000]
    with Client(server.url, timeout=300) as client:
        result = client.embed_images(images, errors="return")
    assert [(error.index, error.code) for error in result.errors] == [(3, "image_too_many_bytes")]
    assert [len(request.images) for _, _, request in server.requests] in ([1, 1, 1], [1, 2])


def test_errors_stand_at_their_items(server: FakeServer, tmp_path: Path) -> None:
    """Failures here, there and across messages are numbered as in the caller's list; the others succeed."""
    images: list[ImageInput] = [
        b"x" * 60_000,
        b"broken",
        tmp_path / "none",
        b"y" * 60_000,
        b"z" * 200_000,
        b"broken too",
    ]
    with Client(server.url, max_message_bytes=100_000) as client:
        result = client.embed_images(images, errors="return")
    assert [(error.index, error.code) for error in result.errors] == [
        (1, "image_undecodable"),
        (2, "unreadable_file"),
        (4, "image_too_many_bytes"),
        (5, "image_undecodable"),
    ]
    assert result.ok.tolist() == [True, False, False, True, False, False]
    np.testing.assert_array_equal(result.vectors[3], vector_of(b"y" * 60_000))
    assert not result.vectors[~result.ok].any()


def test_errors_raise_after_the_last_item(server: FakeServer) -> None:
    """By default a failure cannot be overlooked, and the work already done is not lost."""
    with Client(server.url) as client, pytest.raises(ItemErrors, match="item 1: empty_item") as caught:
        client.embed_texts(["a", "", "b"])
    np.testing.assert_array_equal(caught.value.embeddings[2], vector_of(b"b"))
    assert [error.index for error in caught.value.errors] == [1]


def test_what_the_server_was_too_busy_for_may_be_sent_again() -> None:
    """A caller can tell the items worth repeating from those that will fail again."""
    found = [ItemError(0, code, "").retryable for code in ("overloaded", "internal", "empty_item")]
    assert found == [True, False, False]


def test_cut_texts_are_reported(server: FakeServer) -> None:
    """The caller learns which texts were longer than the model reads, across messages."""
    texts = ["short"] * 260 + ["x" * 2000]
    with Client(server.url) as client:
        assert client.embed_texts(texts).truncated == (260,)


def test_unknown_texts_are_reported(server: FakeServer) -> None:
    """The caller learns which texts the model cannot read, across messages and in streams."""
    texts = ["short"] * 260 + ["unknown 𓀀"] + ["short"] * 260
    with Client(server.url) as client:
        assert client.embed_texts(texts).unknown == (260,)
        assert concatenate(client.stream_texts(texts)).unknown == (260,)


def test_tokens_are_counted(server: FakeServer) -> None:
    """The caller learns how many tokens each text has, across messages, in streams and in selections."""
    texts = ["short"] * 260 + ["four"] + ["short"] * 260
    expected = tuple(len(text) for text in texts)
    with Client(server.url) as client:
        found = client.embed_texts(texts)
        assert found.tokens == found[:].tokens == expected
        assert concatenate([found[259:261], found[:1]]).tokens == (5, 4, 5)
        assert concatenate(client.stream_texts(texts)).tokens == expected
        images = client.embed_images([b"1", b"2"])
        assert images.tokens == ()
        assert concatenate([images, found[:1]]).tokens == (0, 0, 5)


def test_similarity_takes_items_or_embeddings(server: FakeServer) -> None:
    """[texts, images], whether either side is embedded yet or not."""
    with Client(server.url) as client:
        images = client.embed_images([b"1", b"2", b"3"])
        cosines = client.similarity(["a", "b"], images)
        np.testing.assert_array_equal(client.similarity(["a", "b"], [b"1", b"2", b"3"]), cosines)
    assert cosines.shape == (2, 3)
    np.testing.assert_allclose(cosines[1, 2], vector_of(b"b") @ vector_of(b"3"), rtol=1e-5)


def test_nothing_to_embed_needs_no_server() -> None:
    """An empty list is an empty result, not an empty request."""
    with Client("http://127.0.0.1:9") as client:
        assert client.embed_texts([]).vectors.shape == (0, 0)


def test_a_change_of_space_is_noticed(server: FakeServer) -> None:
    """Between two calls the server's model changed: no vector of the new one is returned."""
    with Client(server.url) as client:
        client.embed_texts(["a"])
        server.space = "fedcba9876543210"
        with pytest.raises(SpaceMismatch, match="fedcba9876543210"):
            client.embed_images([b"b"])
    with Client(server.url, space=SPACE) as client, pytest.raises(SpaceMismatch):
        client.embed_texts(["a"])
    with Client(server.url) as client:
        assert client.embed_texts(["a"]).space == "fedcba9876543210"


def test_a_server_that_ignores_the_space_is_noticed() -> None:
    """The pin holds even where the server does not check what it is asked for."""

    class Careless:
        def __init__(self) -> None:
            self.answers = FakeServer()

        def send(self, call: Call) -> bytes:
            self.answers.space += "f"
            from babelclip.embedding_pb2 import EmbedRequest

            request = EmbedRequest.FromString(call.body)
            request.space = ""
            return self.answers.embed(call.model, call.version, request.SerializeToString())

        def close(self) -> None:
            pass

    with Client("unused", transport=Careless()) as client:
        client.embed_texts(["a"])
        with pytest.raises(SpaceMismatch, match="make a new client"):
            client.embed_texts(["a"])


def test_the_version_is_asked_for(server: FakeServer) -> None:
    """A client that names a version never gets the default one."""
    with Client(server.url, version="2.0") as client:
        client.embed_texts(["a"])
    assert server.requests[0][1] == "2.0"


@pytest.mark.parametrize("options", [{"text_model": "nobody"}, {"version": "9.9"}])
def test_an_unknown_model_is_named(server: FakeServer, options: dict[str, Any]) -> None:
    """A wrong model or version says which one is missing."""
    with Client(server.url, **options) as client, pytest.raises(ModelNotFound, match=r"nobody|9\.9"):
        client.embed_texts(["a"])


def test_a_wrong_token_is_an_authentication_error(server: FakeServer) -> None:
    """No token and a wrong one are told apart from every other failure, without showing it."""
    server.token = "right"
    for token in (None, "wr0ng"):
        with Client(server.url, token=token) as client, pytest.raises(AuthenticationError) as caught:
            client.embed_texts(["a"])
        assert "wr0ng" not in str(caught.value)
        assert ("None was given" in str(caught.value)) == (token is None)
    with Client(server.url, token="right") as client:
        assert client.embed_texts(["a"]).ok.all()


def test_a_restarted_server_is_followed(server: FakeServer, tmp_path: Path) -> None:
    """New keys in the token file are picked up when the old one is refused, without a word to the caller."""
    keys = tmp_path / "key_file.json"
    keys.write_text('{"inference": {"key": "first"}}')
    server.token = "first"
    with Client(server.url, token_file=keys) as client:
        client.embed_texts(["a"])
        keys.write_text('{"inference": {"key": "second"}}')
        server.token = "second"
        assert client.embed_texts(["a"]).ok.all()


def test_a_busy_server_is_tried_again(server: FakeServer) -> None:
    """A full queue passes, a batch without room, a gateway's limit; the caller does not see it."""
    with Client(server.url, backoff=QUICK) as client:
        for failures in (["no_worker", "overloaded"], ["limited"]):
            server.failures.extend(failures)
            assert client.embed_texts(["a"]).ok.all()


def test_a_server_that_stays_busy_is_unavailable(server: FakeServer) -> None:
    """Attempts end."""
    server.failures.extend(["no_worker"] * 9)
    with Client(server.url, backoff=QUICK) as client, pytest.raises(Unavailable, match="has no worker"):
        client.embed_texts(["a"])
    assert len(server.failures) == 9 - QUICK.attempts


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        ("worker_died", Unavailable, "worker .* died"),
        ("worker_killed", Unavailable, "worker .* died"),
        ("crashed", TransportError, "boom"),
        ("refused", RequestRefused, "too_many_items: 300 items"),
        ("garbage", ProtocolError, "no EmbedResponse"),
        ("empty", ProtocolError, "no space"),
    ],
)
def test_other_failures_are_told_once(
    server: FakeServer, failure: str, kind: type[BabelclipError], words: str
) -> None:
    """What trying again cannot help, or could make worse, reaches the caller at the first attempt."""
    server.failures.extend([failure, failure])
    with Client(server.url, backoff=QUICK) as client, pytest.raises(kind, match=words):
        client.embed_texts(["a"])
    assert len(server.failures) == 1


def test_a_slow_answer_ends_at_the_deadline(server: FakeServer) -> None:
    """A stalled server costs the timeout, not forever, and the client works afterwards."""
    server.failures.append("stall")
    with Client(server.url, timeout=0.3) as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
            client.embed_texts(["a"])
        server.released.set()
    with Client(server.url) as client:
        assert client.embed_texts(["a"]).ok.all()


def test_a_deadline_names_the_timeout_that_was_set(server: FakeServer) -> None:
    """Also where an earlier attempt, or an answer without progress, took a part of it."""
    server.failures.extend(["no_worker", "stall"])
    with (
        Client(server.url, timeout=1.25, backoff=Backoff(base=0.2)) as client,
        pytest.raises(DeadlineExceeded, match=r"within 1\.25 s"),
    ):
        client.embed_texts(["a"])
    assert not server.failures


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listening_is_unavailable(scheme: str) -> None:
    """A refused connection names the address and ends."""
    with (
        Client(f"{scheme}://127.0.0.1:9", backoff=QUICK) as client,
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"),
    ):
        client.embed_texts(["a"])


def test_threads_share_a_client(server: FakeServer) -> None:
    """Concurrent calls each get their own answers."""
    wrong: list[str] = []

    def work(name: str) -> None:
        texts = [f"{name} {number}" for number in range(20)]
        for _ in range(5):
            result = client.embed_texts(texts)
            if not np.array_equal(result.vectors, [vector_of(text.encode()) for text in texts]):
                wrong.append(name)

    with Client(server.url) as client:
        threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("nan")}, {"max_message_bytes": 10}, {"token": ""}]
)
def test_impossible_settings_are_refused_at_once(options: dict[str, object]) -> None:
    """A wrong setting fails where it is made."""
    with pytest.raises(ValueError, match=r"must be|printable"):
        Client("http://127.0.0.1:9", **options)  # type: ignore[arg-type]
