"""Compressed bodies: requests within their limits, and large answers for who accepts them."""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ApiError
from gateway.http.body import parse
from gateway.http.compression import unpack
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

CALL = json.dumps({"input": ["a", "b"]}).encode()
LIMIT = 100_000


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with small limits."""
    limits = {"max_body_bytes": LIMIT, "compress_from_bytes": 5_000}
    with gateway(Engine(), tmp_path_factory.mktemp("front"), **limits) as front:
        yield front


def packed(data: bytes, encoding: str) -> bytes:
    """Bytes in an encoding of HTTP."""
    return zlib.compress(data) if encoding == "deflate" else gzip.compress(data)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_compressed_request_is_read(front: Front, encoding: str) -> None:
    """It is answered as the same request uncompressed."""
    body = packed(CALL, encoding.lower())
    answer = front.post(content=body, headers={"content-encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert answer.json() == front.post(content=CALL).json()


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(bytes(50_000_000)), "gzip", 413),
        (zlib.compress(bytes(50_000_000)), "deflate", 413),
        (gzip.compress(gzip.compress(bytes(50_000_000))), "gzip", 400),
        (gzip.compress(CALL)[:-3], "gzip", 400),
        (gzip.compress(CALL) * 2, "gzip", 400),
        (CALL, "gzip", 400),
        (b"", "gzip", 400),
        (gzip.compress(CALL), "deflate", 400),
        (gzip.compress(CALL), "gzip, gzip", 415),
        (gzip.compress(CALL), "zstd", 415),
    ],
    # gzip writes the time into what it packs, and each process that runs tests must find the same names.
    ids=["bomb", "deflate bomb", "twice", "cut", "two", "plain", "empty", "misnamed", "twice named", "zstd"],
)
def test_bombs_and_what_is_not_so_compressed_are_refused(
    front: Front, body: bytes, encoding: str, status: int
) -> None:
    """Fifty megabytes in fifty kilobytes are not unpacked, and what is broken is said to be."""
    answer = front.post(content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status, answer.text


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]), st.integers(0, 2000))
def test_what_is_packed_is_unpacked_up_to_the_limit(data: bytes, encoding: str, most: int) -> None:
    """Every body comes out as it was, or is refused for its size."""
    if len(data) <= most:
        assert unpack(packed(data, encoding), encoding, most) == data
    else:
        with pytest.raises(ApiError) as caught:
            unpack(packed(data, encoding), encoding, most)
        assert caught.value.status == 413


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_unpacked_or_refused(data: bytes, encoding: str) -> None:
    """No body fails otherwise than by an error of its own."""
    with contextlib.suppress(ApiError):
        assert len(unpack(data, encoding, 1000)) <= 1000


@pytest.mark.parametrize(
    ("accepts", "gzipped"),
    [("gzip, deflate", True), ("*", True), ("gzip;q=0, *;q=0", False), ("br", False), ("identity", False)],
)
def test_large_answers_are_compressed_for_who_accepts_it(front: Front, accepts: str, gzipped: bool) -> None:
    """The vectors are the same, in half the bytes; small answers are not touched."""
    large = {"input": ["a"] * 100}
    plain = front.post(json=large, headers={"accept-encoding": "identity"})
    answer = front.post(json=large, headers={"accept-encoding": accepts})
    assert answer.headers.get("content-encoding") == ("gzip" if gzipped else None)
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert answer.json() == plain.json()
    if gzipped:
        assert int(answer.headers["content-length"]) < 0.7 * int(plain.headers["content-length"])
    small = front.post(json={"input": "a"}, headers={"accept-encoding": accepts})
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_messages_of_grpc_are_bounded_when_they_are_unpacked(
    front: Front, algorithm: grpc.Compression
) -> None:
    """A compressed message is read, and a bomb is refused while it is unpacked."""
    target = front.addresses.grpc.removeprefix("grpc://")
    with grpc.insecure_channel(target, compression=algorithm) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/babelclip.v1.Embedder/Embed")

        def send(size: int) -> bytes:
            request = pb.EmbedItemsRequest(items=[pb.Item(text="a" * size)])
            bearer = (("authorization", f"Bearer {front.key}"),)
            answer: bytes = call(request.SerializeToString(), metadata=bearer, timeout=PATIENCE)
            return answer

        assert pb.EmbedItemsResponse.FromString(send(1000)).dim == 32
        with pytest.raises(grpc.RpcError) as caught:
            send(50_000_000)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 300_000 + b"0]",
        b"[" + b'"",' * 300_000 + b"0]",
        b'"\\,' * 600_000,
        b"{" + b'"":0,' * 300_000,
    ],
)
def test_values_that_would_fill_the_memory_are_refused(body: bytes) -> None:
    """Three bytes of JSON become seventy when they are read: there may not be millions of them."""
    with pytest.raises(ApiError) as caught:
        parse(body)
    assert caught.value.status == 413


def test_commas_of_texts_are_no_values() -> None:
    """Long texts full of commas, quotes and backslashes pass."""
    texts = ['a, "b", \\, \\" ' * 20_000] * 5
    assert parse(json.dumps({"input": texts}).encode()) == {"input": texts}
