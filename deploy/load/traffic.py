"""What a load test sends, and whether the answer is right: for deploy/load/locustfile.py.

Settings come from the environment; docs/load.md has the table. Requests are texts in many languages and
photographs, some of them bad where that is asked for: the answer is right when exactly those have an error,
and the one that they should have.
"""

import base64
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.transports.url import Address, parse_address
from gateway.rpc.embedder_pb2 import EmbedItemsRequest, EmbedItemsResponse, Item

HERE = Path(__file__).resolve().parent
PHOTOGRAPHS = HERE.parents[1] / "export" / "photographs"
INVISIBLE = "\u200b \u200b"
NO_IMAGE = b"this is no image"


class SettingError(ValueError):
    """A variable of the environment that cannot be used; the message says what is allowed."""


@dataclass(frozen=True)
class Profile:
    """A rate over time: straight lines between points (share of the time, share of the rate)."""

    seconds: float
    points: tuple[tuple[float, float], ...]

    def share(self, elapsed: float) -> float | None:
        """The share of the rate after so many seconds; None at the end. At a jump the later point counts."""
        at = elapsed / self.seconds
        if at >= 1:
            return None
        for (begin, low), (end, high) in reversed(list(zip(self.points, self.points[1:], strict=False))):
            if begin <= at and begin < end:
                return low + (high - low) * (at - begin) / (end - begin)
        return self.points[0][1]


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    url: str
    address: Address
    keys: tuple[str, ...]
    model: str
    profile: Profile
    rate: float
    """Requests a second at the profile's full height."""
    items: int
    images: float
    """Share of the items."""
    bad: float
    p99: float
    """Seconds that the 99th percentile may have at the end."""
    errors: float
    """Share of the requests that may be wrong, refused or unanswered at the end."""
    photographs: Path

    @property
    def grpc(self) -> bool:
        """Whether requests go over gRPC."""
        return self.address.scheme in ("grpc", "grpcs")


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of an environment.

    Raises:
        SettingError: one of them is no number, or names what there is not.
    """
    url = environment.get("BABELCLIP_URL") or "http://127.0.0.1:8000"
    try:
        address = parse_address(url)
    except ValueError as error:
        raise SettingError(f"BABELCLIP_URL: {error}") from None
    known = json.loads((HERE / "profiles.json").read_text(encoding="utf-8"))
    name = environment.get("LOAD_PROFILE") or "steady"
    if name not in known:
        raise SettingError(f"LOAD_PROFILE={name} is none of {', '.join(known)}")
    found = known[name]
    seconds = _number(environment, "LOAD_SECONDS", found["seconds"], least=1)
    keys = environment.get("LOAD_KEYS") or environment.get("BABELCLIP_TOKEN") or ""
    return Settings(
        url=url.rstrip("/"),
        address=address,
        keys=tuple(key.strip() for key in keys.split(",") if key.strip()),
        model=environment.get("LOAD_MODEL", ""),
        profile=Profile(seconds, tuple((at, share) for at, share in found["points"])),
        rate=_number(environment, "LOAD_RATE", 10, least=1),
        items=int(_number(environment, "LOAD_ITEMS", 1, least=1)),
        images=_number(environment, "LOAD_IMAGES_SHARE", 0.2, most=1),
        bad=_number(environment, "LOAD_BAD_SHARE", found["bad"], most=1),
        p99=_number(environment, "LOAD_P99_MS", 1000, least=1) / 1e3,
        errors=_number(environment, "LOAD_ERRORS_SHARE", 0.001, most=1),
        photographs=Path(environment.get("LOAD_PHOTOGRAPHS") or PHOTOGRAPHS),
    )


def _number(
    environment: Mapping[str, str], name: str, default: float, *, least: float = 0, most: float = 1e9
) -> float:
    given = environment.get(name) or str(default)
    try:
        value = float(given)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SettingError(f"{name}={given} is not allowed: a number from {least:g} to {most:g}")
    return value


@dataclass(frozen=True)
class Request:
    """Items, and those of them that must fail."""

    items: tuple[str | bytes, ...]
    bad: Mapping[int, str]
    """The code that an item must have, by its place."""
    model: str

    @property
    def kind(self) -> str:
        """`texts`, `images` or `texts and images`, for the report."""
        images = sum(isinstance(item, bytes) for item in self.items)
        return "texts" if not images else "images" if images == len(self.items) else "texts and images"

    def json(self) -> dict[str, Any]:
        """The body of `POST /v1/embeddings`."""
        shown = [
            item if isinstance(item, str) else {"image": base64.b64encode(item).decode()}
            for item in self.items
        ]
        body: dict[str, Any] = {"input": shown, "encoding_format": "base64", "errors": "return"}
        return {**body, "model": self.model} if self.model else body

    def message(self) -> EmbedItemsRequest:
        """The message of `babelclip.v1.Embedder/Embed`."""
        items = [Item(text=item) if isinstance(item, str) else Item(image=item) for item in self.items]
        return EmbedItemsRequest(model=self.model, items=items)

    def wrong_json(self, status: int, answer: Any) -> str:
        """What is wrong with an answer over HTTP; "" if it is as it must be."""
        if status != 200:
            error = answer.get("error") if isinstance(answer, dict) else None
            return f"HTTP {status} {error.get('code') if isinstance(error, dict) else ''}".rstrip()
        try:
            rows = answer["data"]
            failed = {place: row["error"]["code"] for place, row in enumerate(rows) if row.get("error")}
            vectors = [bool(row["embedding"]) for row in rows]
        except (TypeError, KeyError, AttributeError):
            return "an answer of another form"
        return self._wrong(failed, vectors)

    def wrong_message(self, answer: EmbedItemsResponse) -> str:
        """What is wrong with an answer over gRPC; "" if it is as it must be."""
        failed = {error.index: error.code for error in answer.errors}
        width = 4 * answer.dim
        rows = [answer.vectors[start : start + width] for start in range(0, len(answer.vectors), width or 1)]
        return self._wrong(failed, [any(row) for row in rows])

    def _wrong(self, failed: Mapping[int, str], vectors: list[bool]) -> str:
        if dict(failed) != dict(self.bad):
            return f"items failed with {sorted(failed.values())} instead of {sorted(self.bad.values())}"
        if vectors != [place not in self.bad for place in range(len(self.items))]:
            return "vectors are missing, or of other items"
        return ""


class Traffic:
    """Requests without end, as the settings want them; the same ones in the same order for one seed."""

    def __init__(self, given: Settings, seed: int = 0) -> None:
        self._given = given
        self._random = random.Random(seed)
        self._texts: list[str] = json.loads((HERE / "texts.json").read_text(encoding="utf-8"))
        self._images = [path.read_bytes() for path in sorted(given.photographs.glob("*.jpg"))]
        if given.images and not self._images:
            raise SettingError(f"LOAD_PHOTOGRAPHS={given.photographs} holds no *.jpg")

    def next(self) -> Request:
        """The next request."""
        items: list[str | bytes] = []
        bad: dict[int, str] = {}
        for place in range(self._given.items):
            image = self._random.random() < self._given.images
            if self._random.random() < self._given.bad:
                item, bad[place] = self._bad(image)
            else:
                item = self._random.choice(self._images) if image else self._random.choice(self._texts)
            items.append(item)
        return Request(tuple(items), bad, self._given.model)

    def _bad(self, image: bool) -> tuple[str | bytes, str]:
        if not image:
            return INVISIBLE, "empty_item"
        if self._random.random() < 0.5:
            return NO_IMAGE, "image_undecodable"
        whole = self._random.choice(self._images)
        return whole[: len(whole) // 2], "image_truncated"
