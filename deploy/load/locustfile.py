"""Load on a gateway by Locust, over HTTP or gRPC: docs/load.md.

    BABELCLIP_TOKEN=bck_… LOAD_PROFILE=spike LOAD_RATE=50 locust -f deploy/load/locustfile.py --headless

Each user sends one request a second, and there are as many as the profile wants requests a second: an
answer that takes more than a second lowers the rate, which is Locust's way. Where arrivals must not wait
for answers, take k6 or `python -m benchmarks.capacity`. The exit status is 1 if the p99 or the share of
errors was too high.
"""

import itertools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, LoadTestShape, User, constant_throughput, events, task
from locust.env import Environment

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "clients")]

from deploy.load.traffic import SettingError, Traffic, settings  # noqa: E402
from gateway.rpc.embedder_pb2 import EmbedItemsRequest, EmbedItemsResponse  # noqa: E402

TIMEOUT = 60.0

grpc.experimental.gevent.init_gevent()  # Locust's users are greenlets
try:
    GIVEN = settings()
    TRAFFIC = Traffic(GIVEN)
except SettingError as error:
    sys.exit(f"locustfile: {error}")
_KEYS = itertools.cycle(GIVEN.keys or ("",))


class Shape(LoadTestShape):
    """As many users as the profile wants requests a second."""

    def tick(self) -> tuple[int, float] | None:
        """How many users there are to be now, and how many may start a second; None at the end."""
        share = GIVEN.profile.share(self.get_run_time())
        if share is None:
            return None
        return max(1, math.ceil(share * GIVEN.rate)), max(100.0, GIVEN.rate)


class HttpCaller(FastHttpUser):
    """`POST /v1/embeddings`."""

    abstract = GIVEN.grpc
    host = GIVEN.url
    wait_time = constant_throughput(1)
    network_timeout = connection_timeout = TIMEOUT

    def on_start(self) -> None:
        """A user has one key."""
        key = next(_KEYS)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    @task
    def embed(self) -> None:
        """One request."""
        request = TRAFFIC.next()
        with self.client.post(
            "/v1/embeddings",
            json=request.json(),
            headers=self.headers,
            name=f"/v1/embeddings {request.kind}",
            catch_response=True,
        ) as response:
            if not response.status_code:
                return  # No answer at all: Locust has counted it.
            try:
                answer = json.loads(response.text or "")
            except ValueError:
                answer = None
            wrong = request.wrong_json(response.status_code, answer)
            if wrong:
                response.failure(wrong)
            else:
                response.success()


class GrpcCaller(User):
    """`babelclip.v1.Embedder/Embed`."""

    abstract = not GIVEN.grpc
    host = GIVEN.url
    wait_time = constant_throughput(1)

    def on_start(self) -> None:
        """A user has a key and a connection of its own."""
        key = next(_KEYS)
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()
        options = (("grpc.use_local_subchannel_pool", 1),)
        target = GIVEN.address.target
        self.channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
            if GIVEN.address.scheme == "grpcs"
            else grpc.insecure_channel(target, options)
        )
        self.call: Any = self.channel.unary_unary(
            "/babelclip.v1.Embedder/Embed",
            request_serializer=EmbedItemsRequest.SerializeToString,
            response_deserializer=EmbedItemsResponse.FromString,
        )

    def on_stop(self) -> None:
        """Close its connection."""
        self.channel.close()

    @task
    def embed(self) -> None:
        """One request."""
        request = TRAFFIC.next()
        message = request.message()
        began, wrong, length = time.perf_counter(), "", 0
        try:
            answer = self.call(message, metadata=self.metadata, timeout=TIMEOUT)
            length = answer.ByteSize()
            wrong = request.wrong_message(answer)
        except grpc.RpcError as error:
            wrong = f"gRPC {error.code().name}"
        self.environment.events.request.fire(
            request_type="gRPC",
            name=f"Embed {request.kind}",
            response_time=1e3 * (time.perf_counter() - began),
            response_length=length,
            exception=RuntimeError(wrong) if wrong else None,
            context={},
        )


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """The exit status, and why it is 1."""
    total = environment.stats.total
    p99 = (total.get_response_time_percentile(0.99) or 0) / 1e3
    reasons = []
    if not total.num_requests:
        reasons.append("there was no request")
    if p99 > GIVEN.p99:
        reasons.append(f"the p99 of {1e3 * p99:.0f} ms is more than LOAD_P99_MS")
    if total.fail_ratio > GIVEN.errors:
        reasons.append(f"{total.fail_ratio:.2%} of the requests failed, more than LOAD_ERRORS_SHARE")
    environment.process_exit_code = 1 if reasons else 0
    for reason in reasons:
        print(f"locustfile: {reason}", file=sys.stderr)
