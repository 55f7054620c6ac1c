"""Every call of every port, without a token, with a wrong, an expired, the other kind's and the right one.

docs/tokens.md has the table of what answered; here it is measured.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.empty_pb2 import Empty

from babelclip.transports import torchserve_pb2 as pb
from babelclip.transports.torchserve import INFERENCE, MANAGEMENT, bearer
from serving.java import find_java
from serving.process import RunFolder, TorchServe
from serving.settings import Addresses, free_ports, make_settings
from tests.e2e.support import PATIENCE, Server
from tests.places import REPOSITORY

FOREIGN = "http://127.0.0.1:9/foreign.mar"


@dataclass(frozen=True)
class Http:
    port: str  # inference, management or metrics
    method: str
    path: str
    body: bytes | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Grpc:
    port: str  # grpc_inference or grpc_management
    method: str
    request: Any

    def __str__(self) -> str:
        return self.method


Call = Http | Grpc

# What says nothing of the models, or only how many requests there were: anybody may ask.
OPEN = [
    Http("inference", "OPTIONS", "/"),
    Http("inference", "GET", "/api-description"),
    Http("management", "OPTIONS", "/"),
    Http("management", "GET", "/api-description"),
    Http("metrics", "OPTIONS", "/"),
    Http("metrics", "GET", "/metrics"),
]
GUARDED: list[Call] = [
    Http("inference", "GET", "/ping"),
    Http("inference", "POST", "/predictions/text", b"a cat"),
    Http("inference", "POST", "/predictions/text/1.0", b"a cat"),
    Http("inference", "POST", "/explanations/text", b"a cat"),
    Http("inference", "POST", "/v1/models/text:predict", b"a cat"),
    Http("inference", "POST", "/v2/models/text/infer", b"a cat"),
    Http("inference", "POST", "/invocations", b"a cat"),
    Http("inference", "POST", "/wfpredict/text", b"a cat"),
    Http("management", "GET", "/models"),
    Http("management", "GET", "/models/text"),
    Http("management", "PUT", "/models/text?min_worker=1"),
    Http("management", "PUT", "/models/text/1.0/set-default"),
    Http("management", "DELETE", "/models/text/9.9"),
    Http("management", "POST", f"/models?url={FOREIGN}"),
    Http("management", "GET", "/workflows"),
    Http("management", "POST", "/workflows?url=http://127.0.0.1:9/foreign.war"),
    Http("management", "DELETE", "/workflows/foreign"),
    Grpc("grpc_inference", "Ping", Empty()),
    Grpc("grpc_inference", "Predictions", pb.PredictionsRequest(model_name="text", input={"data": b"a cat"})),
    Grpc("grpc_management", "ListModels", pb.ListModelsRequest(limit=10)),
    Grpc("grpc_management", "DescribeModel", pb.DescribeModelRequest(model_name="text")),
    Grpc("grpc_management", "RegisterModel", pb.RegisterModelRequest(url=FOREIGN, model_name="foreign")),
    Grpc("grpc_management", "ScaleWorker", pb.ScaleWorkerRequest(model_name="text", min_worker=1)),
    Grpc("grpc_management", "SetDefault", pb.SetDefaultRequest(model_name="text", model_version="1.0")),
    Grpc(
        "grpc_management", "UnregisterModel", pb.UnregisterModelRequest(model_name="text", model_version="9")
    ),
]
# Renewing a key asks for a third one, which neither callers nor operators have.
RENEWALS = [Http("management", "GET", f"/token?type={kind}") for kind in ("inference", "management")]


def addresses(server: Server) -> Addresses:
    return Addresses(
        inference=server.http,
        management=server.management,
        metrics=server.metrics.removesuffix("/metrics"),
        grpc_inference=server.grpc,
        grpc_management=server.management_grpc,
    )


def answer(call: Call, reached: Addresses, token: str | None) -> str:
    """ "refused" for want of a right token, else the status."""
    address = getattr(reached, call.port)
    if isinstance(call, Http):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        response = httpx.request(
            call.method, address + call.path, headers=headers, content=call.body, timeout=60.0
        )
        return "refused" if "InvalidKeyException" in response.text else str(response.status_code)
    service = INFERENCE if call.port == "grpc_inference" else MANAGEMENT
    with grpc.insecure_channel(address.removeprefix("grpc://")) as channel:
        send = channel.unary_unary(
            f"/{service}/{call.method}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=lambda data: data,
        )
        try:
            send(call.request, metadata=bearer(token), timeout=60.0)
        except grpc.RpcError as error:
            code = error.code()
            return "refused" if code is grpc.StatusCode.PERMISSION_DENIED else str(code.name)
    return "OK"


def kind_of(call: Call) -> str:
    return "inference" if "inference" in call.port else "management"


@pytest.mark.parametrize("call", [*GUARDED, *RENEWALS], ids=str)
def test_nothing_answers_without_the_right_key(server: Server, call: Call) -> None:
    """No token, a wrong one and the other kind's key open nothing, over HTTP and gRPC, on any port."""
    other = {"inference": "management", "management": "inference"}[kind_of(call)]
    for token in (None, "wr0ng", server.key(other)):
        assert answer(call, addresses(server), token) == "refused"


@pytest.mark.parametrize("call", GUARDED, ids=str)
def test_the_right_key_opens_its_own(server: Server, call: Call) -> None:
    """The same calls with their key are heard, so the refusals above are those of the key."""
    assert answer(call, addresses(server), server.key(kind_of(call))) != "refused"


@pytest.mark.parametrize("call", OPEN, ids=str)
def test_what_anybody_may_ask_holds_no_secret(server: Server, call: Http) -> None:
    """The description of TorchServe's own calls, and Prometheus' metrics, are open, and show no key."""
    response = httpx.request(call.method, getattr(addresses(server), call.port) + call.path, timeout=60.0)
    assert response.status_code == 200
    assert not any(server.key(kind) in response.text for kind in ("inference", "management", "API"))


def test_no_model_comes_from_elsewhere(server: Server, tmp_path: Path) -> None:
    """Not even the management key registers a workflow, or an archive that is not in the model store."""
    (tmp_path / "foreign.mar").write_bytes(b"PK")
    elsewhere = (FOREIGN, f"file://{tmp_path}/foreign.mar", "../foreign.mar", "s3://bucket/foreign.mar")
    reached, key = addresses(server), server.key("management")
    for url in elsewhere:
        assert answer(Http("management", "POST", f"/models?url={url}"), reached, key) in ("400", "404")
        request = pb.RegisterModelRequest(url=url, model_name="foreign", synchronous=True)
        assert answer(Grpc("grpc_management", "RegisterModel", request), reached, key) != "OK"
        assert answer(Http("management", "POST", f"/workflows?url={url}"), reached, key) in ("400", "404")
    headers = {"authorization": f"Bearer {key}"}
    models = httpx.get(f"{server.management}/models", headers=headers).json()["models"]
    assert {model["modelName"] for model in models} == {"text", "vision"}
    assert httpx.get(f"{server.management}/workflows", headers=headers).json() == {"workflows": []}


@pytest.fixture(scope="module")
def expired(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Addresses, dict[str, str]]]:
    """A TorchServe with our settings, but keys that live three seconds; and those keys."""
    folder = RunFolder(tmp_path_factory.mktemp("expired"))
    with folder.held():
        given = (REPOSITORY / "config.properties").read_text(encoding="utf-8")
        assert "token_expiration_min=43200" in given
        short = folder.path / "short.properties"
        short.write_text(given.replace("token_expiration_min=43200", "token_expiration_min=0.05"))
        for name in ("deploy", "handlers"):
            (folder.path / name).symlink_to(REPOSITORY / name)
        settings = make_settings(short, free_ports(), workers=1)
        folder.config.write_text(settings.text, encoding="utf-8")
        server = TorchServe(
            folder,
            store=store,
            models=[("text", "mini-text.mar")],
            workers=1,
            log_config=REPOSITORY / "deploy" / "torchserve" / "log4j2.xml",
            java=find_java(),
        )
        try:
            give_up = time.monotonic() + PATIENCE
            keys: dict[str, str] = {}
            while not keys or not listening(settings.addresses):
                assert server.running(), folder.last_lines()
                assert time.monotonic() < give_up, folder.last_lines()
                time.sleep(0.2)
                keys = read_keys(folder.tokens)
            time.sleep(4)  # What passes is what is tested.
            yield settings.addresses, keys
        finally:
            server.stop()
            assert not server.running()


def read_keys(path: Path) -> dict[str, str]:
    try:
        return {kind: entry["key"] for kind, entry in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError):
        return {}


def listening(reached: Addresses) -> bool:
    try:
        with grpc.insecure_channel(reached.grpc_management.removeprefix("grpc://")) as channel:
            grpc.channel_ready_future(channel).result(timeout=0.5)
        return httpx.get(f"{reached.metrics}/metrics").status_code == 200
    except (grpc.FutureTimeoutError, httpx.TransportError):
        return False


@pytest.mark.parametrize("call", GUARDED, ids=str)
def test_an_expired_key_opens_nothing(expired: tuple[Addresses, dict[str, str]], call: Call) -> None:
    """A key that leaked is worth nothing once its time is over."""
    reached, keys = expired
    assert answer(call, reached, keys[kind_of(call)]) == "refused"


def table() -> str:
    """The table of docs/tokens.md."""
    lines = ["| port | call | without, wrong, expired or other key | its key |", "|---|---|---|---|"]
    for call in OPEN:
        lines.append(f"| {call.port} | `{call}` | answers | answers |")
    for guarded in GUARDED:
        lines.append(f"| {guarded.port} | `{guarded}` | refused | heard: the {kind_of(guarded)} key |")
    for call in RENEWALS:
        lines.append(f"| {call.port} | `{call}` | refused | heard: the API key |")
    return "\n".join(lines).replace(FOREIGN, "…")


def test_the_table_is_the_documented_one() -> None:
    """Readers of docs/tokens.md see what is measured here."""
    assert table() in (REPOSITORY / "docs" / "tokens.md").read_text(encoding="utf-8")
