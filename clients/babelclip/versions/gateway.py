"""What the names of a gateway's models mean: told by the gateway, and changed there, over HTTP.

with GatewayVersions("http://127.0.0.1:8000", key) as versions:
    versions.promote("clip", "2.0")
    versions.canary("clip", "3.0", share=0.1)
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from babelclip.errors import (
    AuthenticationError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RegistryError,
    Unavailable,
)
from babelclip.transports.proxies import proxy_for

# Proving a version has both towers embed, which may wait behind what callers have asked for.
CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Share:
    """A version that a share of the traffic, up to 1, is for; and what a shadow has shown, if it is told."""

    version: str
    share: float
    report: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class GatewayModel:
    """What the name of a model means at a gateway.

    Attributes:
        version: what who names no version gets; None where that is not known at the moment.
        space: its embedding space; None where it is not known.
        follows_engine: nobody has decided on it, so it is what is the engine's default.
        previous: what a rollback goes back to.
        canary: what a share of sessions gets instead.
        shadow: what computes a share of requests as well.
        problem: why the version does not embed at the moment; "" if it does.
    """

    name: str
    version: str | None
    space: str | None
    follows_engine: bool
    previous: str | None
    canary: Share | None
    shadow: Share | None
    problem: str


class GatewayVersions:
    """An operator's calls to one gateway. Close it, or use `with`.

    Args:
        url: http://HOST:PORT or https://HOST:PORT.
        key: a key with which an operator may call; None where the gateway asks for none.

    Raises:
        ValueError: the URL is none of HTTP.

    Every call raises AuthenticationError for a refused key, ModelNotFound for an unknown model or version,
    RegistryError for what is refused, and another BabelclipError when there is no usable answer.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{url!r} is no address: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"{url!r} is no address of a gateway: it must start with http:// or https://")
        self._url = url.rstrip("/")
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # Without TLS nobody is trusted, and to read who could be takes time.
            verify=True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            proxy=proxy_for(address.scheme, address.host),
            trust_env=False,
            timeout=CALL_SECONDS,
        )

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def __enter__(self) -> GatewayVersions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def list(self) -> list[GatewayModel]:
        """All models of the gateway; the first is the one that callers get who name none."""
        found = self._call("GET", "")
        models = found.get("models") if isinstance(found, dict) else None
        if not isinstance(models, list):
            raise self._foreign()
        return [self._model(model) for model in models]

    def describe(self, name: str) -> GatewayModel:
        """One model, with the report on its shadow."""
        return self._model(self._call("GET", f"/{quote(name)}"))

    def promote(self, name: str, version: str) -> GatewayModel:
        """Have a version proved, and made what the name means → what holds now."""
        return self._change(name, "promote", {"version": version})

    def rollback(self, name: str) -> GatewayModel:
        """Promote what the name meant before."""
        return self._change(name, "rollback", {})

    def canary(self, name: str, version: str, share: float) -> GatewayModel:
        """Give a version to a share of sessions, from 0 (which ends it) to 1."""
        return self._change(name, "canary", {"version": version, "share": share})

    def shadow(self, name: str, version: str, share: float) -> GatewayModel:
        """Have a version compute a share of requests, from 0 (which ends it) to 1."""
        return self._change(name, "shadow", {"version": version, "share": share})

    def _change(self, name: str, call: str, body: dict[str, Any]) -> GatewayModel:
        return self._model(self._call("POST", f"/{quote(name)}/{call}", body))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        address = f"{self._url}/v1/admin/models{path}"
        try:
            answer = self._client.request(method, address, json=body)
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self._url} gave no answer in {CALL_SECONDS:.0f} seconds") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"no answer from {self._url}: {error}") from error
        try:
            found = answer.json()
        except ValueError:
            raise self._foreign() from None
        if answer.status_code == 200:
            return found
        try:
            message = str(found["error"]["message"])
        except (KeyError, TypeError):
            raise self._foreign() from None
        if answer.status_code in (401, 403):
            raise AuthenticationError(f"{self._url}: {message}")
        if answer.status_code == 404:
            raise ModelNotFound(message)
        if answer.status_code >= 500:
            raise Unavailable(f"{self._url}: {message}")
        raise RegistryError(message)

    def _model(self, found: Any) -> GatewayModel:
        try:
            return GatewayModel(
                name=str(found["name"]),
                version=_optional(found["version"]),
                space=_optional(found["space"]),
                follows_engine=bool(found["follows_engine"]),
                previous=_optional(found["previous"]),
                canary=_share(found["canary"]),
                shadow=_share(found["shadow"]),
                problem=str(found.get("problem", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._foreign() from None

    def _foreign(self) -> ProtocolError:
        return ProtocolError(
            f"{self._url} does not answer as a gateway does; is it another server's address?"
        )


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _share(value: Any) -> Share | None:
    return value and Share(str(value["version"]), float(value["share"]), value.get("report"))
