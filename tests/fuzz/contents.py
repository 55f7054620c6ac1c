"""What requests hold besides images: texts, JSON, protobuf and forms, sound and broken."""

from __future__ import annotations

import base64
import json
import random
import urllib.parse
from collections.abc import Callable
from typing import Any

from babelclip.embedding_pb2 import EmbedRequest
from tests.fuzz.images import image, junk, mutated

_WORDS = (
    *(
        "a cat",
        "ein roter Apfel",
        "赤いりんご",
        "ጥቁር ድመት",
        "قطة سوداء",
        "विद्यालय",
        "👨‍👩‍👧‍👦",
        "e\u0301" * 20,
    ),
    *(
        "",
        " ",
        "\0",
        "\ufeff",
        "\u202e",
        "\u200b",
        "\ud83d",
        "a\udc00b",
        "\r\n",
        "\x1b[2J",
        "\ufffe",
        "\U0010ffff",
    ),
    *("<s>", "</s>", "<pad>", "<unk>", "data:image/png;base64,", "http://127.0.0.1/cat.png", "null", "NaN"),
)
ENCODINGS = (
    *(
        "utf-8",
        "utf-16",
        "utf-16-le",
        "utf-32",
        "utf-7",
        "latin-1",
        "cp1252",
        "shift_jis",
        "euc-jp",
        "gb18030",
    ),
    *("big5", "koi8-r", "cp037", "iso2022_jp"),
)


def words(rng: random.Random) -> str:
    """A text that may hold anything a string can hold."""
    chosen = rng.choice(_WORDS) * rng.choice((1, 1, 1, 2, 50, 3000))
    if rng.random() < 0.3:
        drawn = [
            chr(rng.choice((rng.randrange(0x80), rng.randrange(0x110000)))) for _ in range(rng.randrange(40))
        ]
        chosen += "".join(drawn)
    return chosen[: rng.choice((10, 200, 20_000))]


def text(rng: random.Random) -> bytes:
    """A text in one of many encodings, sound or broken."""
    encoded = words(rng).encode(rng.choice(ENCODINGS), rng.choice(("replace", "ignore")))
    if rng.random() < 0.2:
        encoded = words(rng).encode("utf-8", "surrogatepass")
    return encoded if rng.random() < 0.5 else mutated(rng, encoded)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and some that only Python calls so."""
    leaves: tuple[Callable[[], Any], ...] = (
        lambda: words(rng),
        lambda: base64.b64encode(image(rng)).decode(),
        lambda: "data:image/png;base64," + base64.b64encode(image(rng)).decode(),
        lambda: rng.choice((None, True, False, 0, -1, 7, 1e308, -0.0, float("nan"), float("inf"), 10**400)),
    )
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(leaves)()
    if rng.random() < 0.5:
        return [value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 5)))]
    return {rng.choice(_NAMES): value(rng, depth + 1) for _ in range(rng.choice((0, 1, 2, 4)))}


_NAMES = (
    *(
        "inputs",
        "input",
        "instances",
        "space",
        "data",
        "b64",
        "body",
        "model",
        "encoding_format",
        "dimensions",
    ),
    *("parameters", "signature_name", "user", "", "\0", "explain", "ключ", "\ud800"),
)
_NESTED = ("[", '{"inputs":', '{"a":[', '[{"b":', '{"inputs":[[')


def json_text(rng: random.Random, key: str) -> bytes:
    """JSON as text, with what a serializer would never write."""
    drawn = rng.random()
    if drawn < 0.1:
        return rng.choice(_NESTED).encode() * rng.choice((10, 900, 5_000, 100_000))
    if drawn < 0.15:
        depth = rng.choice((100, 990, 3_000, 50_000))
        return f'{{"{key}": {"[" * depth}"a cat"{"]" * depth}}}'.encode()
    if drawn < 0.2:
        return f'{{"{key}": ["a"], "{key}": ["b", "c"], "space": null, "space": "x"}}'.encode()
    if drawn < 0.25:
        number = rng.choice(("1" * 5000, "1e999999", "-1E-9999", "0x10", "NaN", "-Infinity"))
        return f'{{"{key}": [{number}]}}'.encode()
    if drawn < 0.3:
        escape = rng.choice((r"\ud800", r"\udc00\ud800", r"\u0000", r"\uZZZZ", r"\x41", "\\"))
        return f'{{"{key}": ["{escape}"], "space": "{escape}"}}'.encode()
    if drawn < 0.35:
        many = ",".join(['"a"'] * rng.choice((255, 256, 257, 3000)))
        return f'{{"{key}": [{many}]}}'.encode()
    if drawn < 0.45:
        shape: Any = value(rng)
    else:
        shape = {
            key: [value(rng) for _ in range(rng.choice((0, 1, 2, 3, 8)))] if drawn < 0.85 else value(rng)
        }
        for name in rng.sample(_NAMES, rng.choice((0, 0, 1, 3))):
            shape[name] = value(rng)
    written = json.dumps(shape, ensure_ascii=rng.random() < 0.5)
    encoded = written.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), "replace")
    return encoded if rng.random() < 0.8 else mutated(rng, encoded)


def protobuf(rng: random.Random) -> bytes:
    request = EmbedRequest()
    if rng.random() < 0.6:
        request.texts.extend(text(rng) for _ in range(rng.choice((0, 1, 1, 2, 5))))
    if rng.random() < 0.6:
        request.images.extend(image(rng) for _ in range(rng.choice((0, 1, 1, 2, 5))))
    if rng.random() < 0.1:
        request.space = rng.choice(("0" * 16, "\0", "é" * 100, "x" * 100_000))
    request.canary = rng.random() < 0.1
    if rng.random() < 0.03:
        request.texts.extend([b"a"] * 300)
    written = request.SerializeToString()
    if rng.random() < 0.1:
        # Unknown fields, wrong wire types, lengths that lie.
        tag = (rng.choice((1, 2, 3, 4, 5, 1000)) << 3) | rng.randrange(8)
        written += bytes((tag & 0x7F,)) + rng.choice((b"\xff" * 11, b"\xff\xff\xff\xff\x0f", junk(rng)))
    return written if rng.random() < 0.5 else mutated(rng, written)


_FIELDS = (
    *(
        "data",
        "body",
        "a",
        "b",
        "",
        "explain",
        "url_path",
        "content-type",
        "accept",
        "request",
        "ключ",
        "x" * 300,
    ),
    *('q"uote', "a;b", "requestId", "ts_stream_next"),
)
_PART_TYPES = (
    *(
        "",
        "",
        "image/png",
        "text/plain",
        "text/plain; charset=utf-16",
        "application/json",
        "application/x-protobuf",
    ),
    *("multipart/mixed; boundary=inner", "x", "/"),
)


def _part(rng: random.Random, name: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if rng.random() < 0.5:
        disposition += f'; filename="{rng.choice(("a.png", "", "../../x", "ü.jpg", "a" * 300))}"'
    if rng.random() < 0.08:
        disposition = rng.choice(
            (
                "Content-Disposition: form-data",
                "X: y",
                "",
                "Content-Disposition: attachment; name",
                "Content-Disp",
            )
        )
    head = disposition.encode()
    if kind := rng.choice(_PART_TYPES):
        head += b"\r\nContent-Type: " + kind.encode()
    if rng.random() < 0.1:
        head += b"\r\nContent-Transfer-Encoding: " + rng.choice((b"base64", b"binary", b"8bit", b"nonsense"))
    return head + b"\r\n\r\n" + content


def multipart(rng: random.Random) -> tuple[bytes, bytes]:
    """A form and the content type that goes, or does not go, with it."""
    boundary = rng.choice((b"xxBOUNDARYxx", b"b", b"-" * 60, b"a" * 200, b"with space", b"'()+_,-./:=?", b""))
    named = boundary
    if rng.random() < 0.1:
        named = rng.choice((b"another", b"", b"\xff\xfe"))
    kind = b"multipart/form-data; boundary=" + (b'"' + named + b'"' if rng.random() < 0.3 else named)
    if rng.random() < 0.06:
        kind = rng.choice(
            (b"multipart/form-data", b"multipart/form-data; boundary", b"multipart/mixed; boundary=b")
        )
    end = rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n"))
    body = b""
    for _ in range(rng.choice((0, 1, 1, 2, 3, 10))):
        content = rng.choice((image, text, lambda rng: json_text(rng, "inputs")))(rng)
        body += b"--" + boundary + end + _part(rng, rng.choice(_FIELDS), content) + end
    body += rng.choice((b"--" + boundary + b"--" + end, b"--" + boundary + b"--", b"", junk(rng)))
    return (body if rng.random() < 0.85 else mutated(rng, body)), kind


def urlencoded(rng: random.Random) -> bytes:
    pairs = [(rng.choice(_FIELDS), text(rng)[:2000]) for _ in range(rng.choice((0, 1, 1, 2, 5)))]
    encoded = urllib.parse.urlencode(pairs).encode()
    if rng.random() < 0.3:
        encoded = rng.choice(
            (b"=", b"&&&", b"a=%zz", b"data=%", b"data", b"%00=%ff", b"data=%ff%fe&data=%80", encoded * 3)
        )
    return encoded if rng.random() < 0.8 else mutated(rng, encoded)
