"""TLS of the gateway: with a certificate of its own, over HTTP and gRPC."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
import trustme

from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import gateway


@pytest.fixture
def authority() -> trustme.CA:
    """Whom the callers of these tests trust."""
    return trustme.CA()


def files(authority: trustme.CA, folder: Path) -> dict[str, str]:
    """The settings of a certificate for localhost."""
    certificate = authority.issue_cert("localhost")
    names = {"tls_certificate": folder / "certificate.pem", "tls_key": folder / "key.pem"}
    certificate.private_key_pem.write_to_path(names["tls_key"])
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(names["tls_certificate"], append=number > 0)
    return {name: str(path) for name, path in names.items()}


def test_both_ways_in_speak_tls(authority: trustme.CA, tmp_path: Path) -> None:
    """A key travels encrypted, to a gateway that has shown who it is; in the clear nobody is answered."""
    with gateway(Engine(), tmp_path, **files(authority, tmp_path)) as front:
        assert front.addresses.http.startswith("https://")
        assert front.addresses.grpc.startswith("grpcs://")
        bearer = {"authorization": f"Bearer {front.key}"}
        url = f"https://localhost:{urlsplit(front.addresses.http).port}/v1/embeddings"
        trusted = authority_context(authority)
        answer = httpx.post(url, json={"input": "a"}, headers=bearer, verify=trusted, timeout=60)
        assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.post(url, json={"input": "a"}, headers=bearer, timeout=60)
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http"), timeout=60)
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        target = f"localhost:{urlsplit(front.addresses.grpc).port}"
        with grpc.secure_channel(target, credentials) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/babelclip.v1.Embedder/Embed"
            )
            sent = pb.EmbedItemsRequest(items=[pb.Item(text="a")]).SerializeToString()
            answered = call(sent, metadata=tuple(bearer.items()), timeout=PATIENCE)
        assert pb.EmbedItemsResponse.FromString(answered).dim == 32


def authority_context(authority: trustme.CA) -> ssl.SSLContext:
    """What a caller verifies with that trusts the authority alone."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("spoil", ["missing", "garbage"])
def test_a_certificate_that_is_none_is_named(authority: trustme.CA, tmp_path: Path, spoil: str) -> None:
    """The gateway does not start without the TLS it was told to speak."""
    settings = files(authority, tmp_path)
    if spoil == "missing":
        Path(settings["tls_certificate"]).unlink()
    else:
        Path(settings["tls_certificate"]).write_text("no certificate")
    with (
        pytest.raises(OSError, match="cannot use the TLS certificate and key"),
        gateway(Engine(), tmp_path, **settings),
    ):
        pass
