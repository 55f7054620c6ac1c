"""What an answer says, and whether docs/errors.md lets a server say it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from babelclip.embedding_pb2 import EmbedResponse
from tests.e2e.support import Server
from tests.places import REPOSITORY


@dataclass(frozen=True)
class Verdict:
    """How an answer is counted, and what is wrong with it ("" for nothing)."""

    counted: str
    wrong: str = ""
    internal: bool = False


def documented() -> dict[str, int]:
    """The codes of docs/errors.md and their statuses."""
    page = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    codes = {code: int(status) for code, status in re.findall(r"^\| `(\w+)` \| (\d{3}) \|", page, re.M)}
    assert "`context_length_exceeded`, 400" in page
    return {**codes, "context_length_exceeded": 400}


def refused_by_torchserve() -> set[tuple[int, str]]:
    """The refusals of TorchServe's own that docs/errors.md tells of: status and name of the exception."""
    page = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\| (\d{3}) \| `(\w+Exception)` \|$", page, re.M)
    # Sixteen callers fill no queue, and both towers have proved themselves before the first body.
    return {(int(status), name) for status, name in rows if name != "ServiceUnavailableException"}


class Judge:
    """Knows what one server may answer."""

    def __init__(self, server: Server) -> None:
        # A sound tower passes its canary whatever it is sent.
        self._codes = {code: status for code, status in documented().items() if code != "canary_mismatch"}
        self._own = refused_by_torchserve()
        # No answer holds a path of the server, a piece of its code, or a key.
        self._secrets = [str(server.token_file.parent), str(REPOSITORY), sys.prefix, "site-packages", '.py"']
        self._secrets += ["Traceback", server.key("inference"), server.key("management")]

    def http(self, status: int, content_type: str, content: bytes, *, no_body: bool = False) -> Verdict:
        """The verdict over an HTTP answer; `no_body` where HTTP allows none."""
        if leak := self._leak(content):
            return Verdict(f"{status} leak", leak)
        if no_body:
            return Verdict(f"{status} (no body)", "" if status < 500 else f"status {status}")
        if content_type == "application/x-protobuf":
            return self._message(content, status)
        try:
            parsed = json.loads(content)
        except ValueError:
            return Verdict(
                f"{status} unparsable", f"status {status} with a body that is no JSON: {content[:200]!r}"
            )
        if isinstance(parsed, dict) and {"code", "type", "message"} <= parsed.keys():
            kind = parsed["type"]
            known = (status, kind) in self._own
            return Verdict(f"{status} {kind}", "" if known else f"TorchServe's {status}: {content[:300]!r}")
        return self._codes_of(status, json_codes(parsed, status))

    def grpc(self, content: bytes) -> Verdict:
        """The verdict over the `prediction` of a gRPC answer."""
        leak = self._leak(content)
        return Verdict("OK leak", leak) if leak else self._message(content, 200, over_grpc=True)

    def grpc_failure(self, status: str, details: str) -> Verdict:
        """The verdict over a gRPC status that is not OK."""
        if leak := self._leak(details.encode()):
            return Verdict(f"{status} leak", leak)
        name = details.partition("\n")[2].rstrip(".()").rpartition(".")[2]
        sound = status == "INTERNAL" and name in {name for _, name in self._own}
        return Verdict(f"{status} {name}", "" if sound else f"gRPC status {status}: {details[:300]!r}")

    def _leak(self, content: bytes) -> str:
        for secret in self._secrets:
            if secret.encode() in content:
                return f"the answer holds {secret[:40]!r}"
        return ""

    def _message(self, content: bytes, status: int, *, over_grpc: bool = False) -> Verdict:
        try:
            message = EmbedResponse.FromString(content)
        except DecodeError:
            return Verdict(f"{status} unparsable", f"status {status} with a body that is no EmbedResponse")
        codes = [message.error.code] if message.HasField("error") else [one.code for one in message.errors]
        if over_grpc:
            return self._codes_of(None, codes)
        return self._codes_of(status, codes, one_of_many=status == 200)

    def _codes_of(self, status: int | None, codes: list[str], *, one_of_many: bool = False) -> Verdict:
        """`status` is None where the transport has none."""
        named = "OK" if status is None else str(status)
        counted = f"{named} {codes[0] if codes else 'served'}"
        if "internal" in codes:
            return Verdict(counted, "internal", internal=True)
        unknown = [code for code in codes if code not in self._codes]
        if unknown:
            return Verdict(counted, f"undocumented code {unknown[0]!r}")
        if status not in (None, 200) and (not codes or self._codes[codes[0]] != status):
            return Verdict(counted, f"status {status} is not documented for {codes or 'no code'}")
        return Verdict(counted)


def json_codes(parsed: Any, status: int) -> list[str]:
    """The error codes in a JSON answer, in whichever of the documented forms it is."""
    if not isinstance(parsed, Mapping):
        return ["(no object)"]
    error = parsed.get("error")
    if isinstance(error, Mapping):
        return [str(error.get("code"))]
    if isinstance(error, str):  # KServe's
        return [error.partition(":")[0]]
    if parsed.get("status") == "fail":  # a probe's
        return [str(parsed.get("output")).partition(":")[0]]
    if status != 200:
        return []
    return [str(one["code"]) for one in parsed.get("errors", [])]
