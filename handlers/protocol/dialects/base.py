"""What a dialect is: one form in which a tower is called, recognised, read, and answered in kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from handlers.config import Settings, TowerMeta
from handlers.errors import MALFORMED_REQUEST, UNSUPPORTED_MEDIA_TYPE, RequestError
from handlers.outcomes import Outcome
from handlers.protocol.envelope import JSON, Envelope
from handlers.protocol.items import Payload
from handlers.protocol.rendering import Response
from handlers.self_test import SelfTest


@dataclass(frozen=True)
class Content:
    """What one request holds."""

    items: list[Payload] | SelfTest
    """In its order, a protobuf's texts before its images; the tower's self-test for a probe."""
    space: str = ""
    """The embedding space it insists on; "" for any."""
    timeout: float | None = None
    """Seconds that its caller waits for the response; None where it does not say."""
    wants_stages: bool = False
    """Whether the response is to tell how long each stage took."""


class Dialect(ABC):
    """One form in which a tower is called. It keeps nothing between requests."""

    path: ClassVar[str] = ""
    """What must follow /predictions/MODEL/VERSION/ in the address."""
    any_request: ClassVar[bool] = False
    """Whether it takes a request of any path and coding, as a probe is: nothing but its headers is read."""

    @abstractmethod
    def matches(self, envelope: Envelope) -> bool:
        """Whether the request is of this dialect, unless an earlier one of `DIALECTS` has taken it."""

    @abstractmethod
    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        """The content of a request; items that cannot be used stand in it as an ItemError.

        A list of more than `settings.max_items` may come back unread, because it is refused afterwards.

        Raises:
            RequestError: the request as a whole is refused.
        """

    @abstractmethod
    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        """The outcomes of a request's items, in its order → the response, with the errors of single items."""

    @abstractmethod
    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        """A request that is refused as a whole → the response that says why."""


def json_value(envelope: Envelope) -> Any:
    """The value of a JSON body.

    Raises:
        RequestError: the body is of another type, or no JSON.
    """
    if envelope.content_type != JSON:
        raise RequestError(UNSUPPORTED_MEDIA_TYPE, f"this address takes {JSON}")
    if isinstance(envelope.body, bytes | bytearray):
        raise RequestError(MALFORMED_REQUEST, "the body is no JSON in UTF-8")
    return envelope.body
