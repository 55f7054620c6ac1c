import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from babelclip import Client
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.base import Call
from models import checkpoint
from tests.places import REPOSITORY
from tests.training.evaluation.shards import Drawing
from training.evaluation.embedding import LoadedModel, Picture, ServedModel, token_arrays
from training.evaluation.errors import EvaluationError

TEXTS = ["a long name of a red circle", "red", "青い丸", "", "blue circle"] * 20


@pytest.fixture(scope="module")
def mini() -> LoadedModel:
    loaded = checkpoint.load(REPOSITORY / "training" / "recipes" / "mini" / "checkpoint")
    return LoadedModel(loaded, "mini", torch.device("cpu"))


class Served:
    """A transport to a server that answers an item with its length, and refuses the item `bad`."""

    def send(self, call: Call) -> bytes:
        request = EmbedRequest.FromString(call.body)
        items = [*request.texts, *request.images]
        vectors = np.array([[len(item), 1] for item in items], "<f4")
        response = EmbedResponse(space="0123456789abcdef", dim=2, logit_scale=1.0)
        for index, item in enumerate(items):
            if item in ("bad", b"bad"):
                response.errors.add(index=index, code="image_undecodable", message="it is bad")
                vectors[index] = 0
        response.vectors = vectors.tobytes()
        return response.SerializeToString()

    def close(self) -> None:
        pass


def test_texts_keep_their_order_and_know_nothing_of_each_other(mini: LoadedModel) -> None:
    """Protects the sorting by length, and padding that leaks into a vector."""
    together = mini.embed_texts(TEXTS)
    alone = torch.cat([mini.embed_texts([text]) for text in TEXTS[:5]])
    torch.testing.assert_close(together[:5], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[-5:], alone, atol=1e-5, rtol=0)


def test_images_keep_their_order(mini: LoadedModel, drawings: list[Drawing]) -> None:
    """Protects the order over batches and decoding threads."""
    pictures = [Picture(str(i), image) for i, (image, _) in enumerate(drawings)] * 2
    found = mini.embed_images(iter(pictures))
    torch.testing.assert_close(found[: len(drawings)], found[len(drawings) :], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[7:8], mini.embed_images(pictures[7:8]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))


def test_a_picture_that_cannot_be_decoded_is_named(mini: LoadedModel) -> None:
    """Protects the person who has to find one broken image among thousands."""
    with pytest.raises(EvaluationError, match=r"0\.tar: s17: "):
        mini.embed_images([Picture("0.tar: s17", b"no image")])


def test_rows_are_cut_and_filled_up(words: Tokenizer) -> None:
    """Protects token arrays: the mask covers the tokens, padding is the model's own."""
    own = Tokenizer.from_str(words.to_str())  # Other tests have the same one, uncut.
    ids, mask = token_arrays(own, ["red circle " * 20, "red"], max_tokens=6, pad_id=1)
    assert ids.shape == mask.shape == (2, 6)
    assert mask[0].tolist() == [1] * 6
    length = int(mask[1].sum())
    assert mask[1].tolist() == [1] * length + [0] * (6 - length)
    assert ids[1, length:].tolist() == [1] * (6 - length)


def test_a_served_model_is_the_real_clients() -> None:
    """Protects the seam to babelclip.Client: vectors and space come through, a fault names its item."""
    with Client("http://nowhere", transport=Served()) as client:
        served = ServedModel(client, "http://nowhere")
        assert served.embed_texts(["a", "abc"]).tolist() == [[1, 1], [3, 1]]
        assert served.space == "0123456789abcdef"
        pictures = [Picture("one", b"12"), Picture("two", b"bad")]
        assert served.embed_images(pictures[:1]).tolist() == [[2, 1]]
        with pytest.raises(EvaluationError, match="two: http://nowhere: it is bad"):
            served.embed_images(iter(pictures))
        with pytest.raises(EvaluationError, match="the text 'bad': it is bad"):
            served.embed_texts(["a", "bad"])


def test_a_server_that_is_not_there_is_a_sentence() -> None:
    """Protects the command from ending in the client's traceback."""
    url = "http://127.0.0.1:9"
    with Client(url, timeout=0.1) as client, pytest.raises(EvaluationError, match=rf"^{url}: "):
        ServedModel(client, url).embed_texts(["a"])
