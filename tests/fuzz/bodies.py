"""Requests as no client should send them, each made from a seed and an index alone.

`make(seed, index)` gives the same body whenever it is asked, in any order, so a failure is named by two
numbers. That is why bodies are drawn from `random.Random` and not from Hypothesis, whose examples depend on
what came before them.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import random
import struct
import urllib.parse
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image, features

from babelclip.embedding_pb2 import EmbedRequest

TOWERS = ("text", "vision")
PROTOBUF = "application/x-protobuf"
Transport = Literal["http", "grpc", "stream"]


@dataclass(frozen=True)
class Body:
    """One request: over HTTP a path, headers and content, over gRPC a model, a version and an input map."""

    kind: str
    transport: Transport
    path: str = ""
    method: str = "POST"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes = b""
    model: str = ""
    version: str = ""
    inputs: Mapping[str, bytes] = field(default_factory=dict)

    def saved(self) -> str:
        """The body as JSON, for whoever looks into a failure."""

        def shown(raw: bytes) -> str:
            return base64.b64encode(raw).decode()

        facts = {
            "kind": self.kind,
            "transport": self.transport,
            "method": self.method,
            "path": self.path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "content_base64": shown(self.content),
            "model": self.model,
            "version": self.version,
            "inputs_base64": {name: shown(value) for name, value in self.inputs.items()},
        }
        return json.dumps(facts, indent=1, ensure_ascii=True)


def make(seed: int, index: int) -> Body:
    """The body that `seed` and `index` name."""
    rng = random.Random(f"{seed}:{index}")
    return rng.choice(KINDS)(rng)


# ---- Images


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@functools.cache
def images() -> tuple[bytes, ...]:
    """Sound images of every format, in many of its forms."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    picture, smooth = Image.fromarray(noise), Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    made = []
    for image in (picture, smooth, picture.resize((1, 1)), picture.resize((3, 400))):
        made += [_saved(image, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    made += [_saved(picture, "JPEG", progressive=True), _saved(picture.convert("CMYK"), "JPEG")]
    made += [_saved(picture.convert("L"), "JPEG", restart_marker_blocks=1)]
    made += [_saved(picture.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")]
    made += [
        _saved(picture.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGBA", "CMYK", "I", "F", "LAB")
    ]
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate"):
        made.append(_saved(picture, "TIFF", compression=compression))
    made.append(_saved(picture, "TIFF", compression="jpeg"))
    made.append(_saved(picture.convert("1"), "TIFF", compression="group4"))
    made += [_saved(picture.convert(mode), "BMP") for mode in ("1", "L", "P", "RGBA")]
    made += [_saved(picture, "WEBP", lossless=True), _saved(picture.convert("RGBA"), "WEBP")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        made.append(_saved(picture, kind, save_all=True, append_images=[smooth.resize(picture.size)]))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        made.append(_saved(picture, kind, exif=exif))
    made.append(_saved(picture, "PNG", interlace=1))
    made.append(_png(9, 5, 16, 2, bytes((1 + 6 * 9) * 5)))
    made.append(_png(9, 5, 8, 2, bytes((1 + 3 * 9) * 5), (b"iCCP", b"x\0\0" + zlib.compress(bytes(10_000)))))
    made.append(_png(9, 5, 8, 2, bytes((1 + 3 * 9) * 5), (b"zTXt", b"x\0\0" + zlib.compress(bytes(10_000)))))
    if features.check("avif"):
        made.append(_saved(picture, "AVIF"))
    return tuple(made)


def junk(rng: random.Random, most: int = 64) -> bytes:
    """Up to `most` random bytes."""
    return rng.randbytes(rng.randint(0, most))


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    """Numbers of a header become extreme ones."""
    place = rng.randint(0, min(len(data), rng.choice((32, 64, 4096))))
    number = rng.choice((0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    written = number.to_bytes(4, rng.choice(("big", "little")))[: rng.choice((1, 2, 4))]
    return data[:place] + written + data[place + len(written) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + junk(rng) + data[place:]


def _remove(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + data[place + rng.randint(1, 64) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start = rng.randint(0, len(data))
    piece = data[start : start + rng.randint(1, 200)]
    return data[:start] + piece * rng.randint(2, 50) + data[start:]


def _append(rng: random.Random, data: bytes) -> bytes:
    return data + junk(rng, 500)


def _whole(rng: random.Random, data: bytes) -> bytes:
    return data


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_cut, _flip, _overwrite, _insert, _remove, _repeat, _append, _whole),
)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to three things wrong with them."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_CHANGES)(rng, data)
    return data


def image(rng: random.Random) -> bytes:
    """A broken image: changed, or the head of one and the tail of another."""
    one, other = rng.choice(images()), rng.choice(images())
    if rng.random() < 0.15:
        return one[: rng.randint(0, len(one))] + other[rng.randint(0, len(other)) :]
    if rng.random() < 0.03:
        return rng.choice((b"", b"\0", b"GIF89a", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg/>", b"P6 1 1 255 abc"))
    return mutated(rng, one)


# ---- Texts and JSON

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
_ENCODINGS = (
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
    encoded = words(rng).encode(rng.choice(_ENCODINGS), rng.choice(("replace", "ignore")))
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


def _json_text(rng: random.Random, key: str) -> bytes:
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


# ---- Protobuf


def _protobuf(rng: random.Random) -> bytes:
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


# ---- Forms

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


def _multipart(rng: random.Random) -> tuple[bytes, bytes]:
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
        content = rng.choice((image, text, lambda rng: _json_text(rng, "inputs")))(rng)
        body += b"--" + boundary + end + _part(rng, rng.choice(_FIELDS), content) + end
    body += rng.choice((b"--" + boundary + b"--" + end, b"--" + boundary + b"--", b"", junk(rng)))
    return (body if rng.random() < 0.85 else mutated(rng, body)), kind


def _urlencoded(rng: random.Random) -> bytes:
    pairs = [(rng.choice(_FIELDS), text(rng)[:2000]) for _ in range(rng.choice((0, 1, 1, 2, 5)))]
    encoded = urllib.parse.urlencode(pairs).encode()
    if rng.random() < 0.3:
        encoded = rng.choice(
            (b"=", b"&&&", b"a=%zz", b"data=%", b"data", b"%00=%ff", b"data=%ff%fe&data=%80", encoded * 3)
        )
    return encoded if rng.random() < 0.8 else mutated(rng, encoded)


# ---- Requests

_TYPES = (
    *(
        b"",
        b"application/json",
        b"application/json; charset=utf-16",
        b"APPLICATION/JSON",
        b"application/jsonp",
    ),
    *(
        b"text/plain",
        b"text/plain; charset=utf-8",
        b"text/plain; charset=latin-1",
        b'text/plain;charset="',
        b"text/",
    ),
    *(
        b"text/html",
        b"text",
        b"image/png",
        b"image/jpeg",
        b"image/",
        b"image/svg+xml",
        b"application/octet-stream",
    ),
    *(
        b"application/x-protobuf",
        b"application/protobuf; x=y",
        b"application/grpc",
        b"application/pdf",
        b"*/*",
        b";",
    ),
    *(
        b"\xff\xfe",
        b"a" * 5000,
        b"application/json, text/plain",
        b"text/plain; charset=" + b"x" * 3000,
        b"/",
        b"video/mp4",
    ),
    *(
        b"application/json;",
        b" text/plain".strip(),
        b"multipart/form-data",
        b"application/x-www-form-urlencoded",
    ),
)
_ACCEPTS = (
    *(
        b"",
        b"*/*",
        b"application/json",
        b"application/x-protobuf",
        b"application/x-protobuf;q=0.5, application/json;q=0.4",
    ),
    *(
        b"application/json;q=2",
        b"application/json;q=-1",
        b"application/json;q=",
        b",,,;;;===",
        b"application/health+json",
    ),
    *(
        b"\xff",
        b"text/html",
        b"application/x-protobuf;q=1.0000",
        b"a/b," * 900,
        b"application/json;q=0, application/protobuf",
    ),
)


def _headers(rng: random.Random, content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
    made = [(b"Content-Type", content_type)] if content_type else []
    if rng.random() < 0.2:
        made.append((b"Accept", rng.choice(_ACCEPTS)))
    if rng.random() < 0.03:
        made.append(
            (rng.choice((b"explain", b"url_path", b"ts_stream_next", b"content-type", b"X")), junk_word(rng))
        )
    return tuple(made)


def junk_word(rng: random.Random) -> bytes:
    """A header's value that HTTP allows."""
    return rng.choice((b"", b"true", b"v1/embeddings", b"\xc3\xa9", b"application/json", b"x" * 1000))


def _http(rng: random.Random, kind: str, content: bytes, content_type: bytes, path: str = "") -> Body:
    where = path or f"/predictions/{rng.choice(TOWERS)}"
    return Body(kind, "http", path=where, headers=_headers(rng, content_type), content=content)


def _raw_image(rng: random.Random) -> Body:
    kind = rng.choice((b"image/png", b"image/jpeg", b"", b"application/octet-stream"))
    return _http(rng, "image", image(rng), kind, "/predictions/vision")


def _raw_text(rng: random.Random) -> Body:
    charset = rng.choice((b"", b"", b"; charset=utf-8", b"; charset=" + rng.choice(_ENCODINGS).encode()))
    return _http(
        rng, "text", text(rng), rng.choice((b"text/plain" + charset, b"", b"application/octet-stream"))
    )


def _base64_text(rng: random.Random) -> Body:
    encoded = base64.b64encode(image(rng))
    if rng.random() < 0.4:
        encoded = mutated(rng, rng.choice((b"data:image/png;base64,", b" ", b"")) + encoded)
    return _http(rng, "base64", encoded, b"text/plain", "/predictions/vision")


def _plain_json(rng: random.Random) -> Body:
    return _http(rng, "json", _json_text(rng, "inputs"), b"application/json")


def _openai(rng: random.Random) -> Body:
    path = f"/predictions/{rng.choice(TOWERS)}/1.0/v1/embeddings"
    return _http(
        rng,
        "openai",
        _json_text(rng, "input"),
        rng.choice((b"application/json",) * 9 + (b"text/plain",)),
        path,
    )


def _kserve(rng: random.Random) -> Body:
    tower = rng.choice(TOWERS)
    path = rng.choice((f"/v1/models/{tower}:predict", f"/predictions/{tower}"))
    return _http(rng, "kserve", _json_text(rng, "instances"), b"application/json", path)


def _http_protobuf(rng: random.Random) -> Body:
    return _http(rng, "protobuf", _protobuf(rng), PROTOBUF.encode())


def _form(rng: random.Random) -> Body:
    content, kind = _multipart(rng)
    return _http(rng, "multipart", content, kind)


def _url_form(rng: random.Random) -> Body:
    return _http(rng, "urlencoded", _urlencoded(rng), b"application/x-www-form-urlencoded")


def _odd_headers(rng: random.Random) -> Body:
    content = rng.choice((image, text, _protobuf, lambda rng: _json_text(rng, "inputs"), lambda rng: b""))(
        rng
    )
    made = [(b"Content-Type", rng.choice(_TYPES)) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    made += [(b"Accept", rng.choice(_ACCEPTS)) for _ in range(rng.choice((0, 1, 1, 2)))]
    where = f"/predictions/{rng.choice(TOWERS)}"
    return Body("headers", "http", path=where, headers=tuple(made), content=content)


def _odd_path(rng: random.Random) -> Body:
    tower = rng.choice(TOWERS)
    tail = rng.choice(
        (
            "",
            "/1.0",
            "/1.0/",
            "/9.9",
            "/1.0/v1/embeddings/",
            "/1.0/x",
            "/1.0/../..",
            "/1.0/%ff%fe",
            "//",
            "/é",
            "/1.0/v2",
        )
    )
    root = rng.choice(
        (
            "/predictions/",
            "/predictions/",
            "/predictions/",
            "/explanations/",
            "/v1/models/",
            "/v2/models/",
            "/",
        )
    )
    method = rng.choice(("POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE", "PATCH"))
    return Body(
        "path",
        "http",
        path=urllib.parse.quote(root + rng.choice((tower, tower, "nothing", "")) + tail, safe="/%.:"),
        method=method,
        headers=_headers(rng, rng.choice(_TYPES)),
        content=b"" if method in ("GET", "HEAD", "OPTIONS") else text(rng),
    )


def _grpc_request(rng: random.Random) -> Body:
    return Body("grpc", "grpc", model=rng.choice(TOWERS), inputs={"request": _protobuf(rng)})


_KEYS = (
    *(
        "request",
        "data",
        "body",
        "explain",
        "",
        "\0",
        "Content-Type",
        "content-type",
        "accept",
        "url_path",
        "ключ",
    ),
    *("ts_stream_next", "x" * 5000, "requestId"),
)


def _grpc_map(rng: random.Random) -> Body:
    inputs = {
        key: rng.choice((image, text, _protobuf, junk))(rng)
        for key in rng.sample(_KEYS, rng.choice((0, 1, 1, 2, 5)))
    }
    model = rng.choice((*TOWERS, *TOWERS, *TOWERS, *TOWERS, "nothing", ""))
    version = rng.choice(("", "", "", "", "1.0", "9.9", "é"))
    return Body("grpc map", "grpc", model=model, version=version, inputs=inputs)


def _stream(rng: random.Random) -> Body:
    inputs = {rng.choice(_KEYS[:4]): rng.choice((image, text, _protobuf, junk))(rng)}
    return Body("grpc stream", "stream", model=rng.choice(TOWERS), inputs=inputs)


# A kind that is named twice comes twice as often.
KINDS: tuple[Callable[[random.Random], Body], ...] = (
    *(
        _raw_image,
        _raw_image,
        _raw_image,
        _raw_text,
        _raw_text,
        _base64_text,
        _plain_json,
        _plain_json,
        _openai,
    ),
    *(_kserve, _http_protobuf, _http_protobuf, _form, _form, _url_form, _odd_headers, _odd_path),
    *(_grpc_request, _grpc_request, _grpc_map, _stream),
)
