"""How a request that fails as a whole ends over gRPC: a status, and details for programs."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gateway.errors import ApiError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
DOMAIN = "babelclip"
# Where gRPC's libraries look for a google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    # RESOURCE_EXHAUSTED would tell clients to send the same again.
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: ApiError) -> grpc.StatusCode:
    """gRPC's status for an error."""
    return _CODES.get(error.status, grpc.StatusCode.UNKNOWN)


async def abort(context: Context, error: ApiError) -> NoReturn:
    """End the call with the error's status; its details hold the code, and when to try again."""
    details = [ErrorInfo(reason=error.code, domain=DOMAIN)]
    if error.retry_after is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after)))
    code = code_of(error)
    status = Status(code=code.value[0], message=error.message)
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort(code, error.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort does not return")
