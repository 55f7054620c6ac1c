"""Attacks on the calls of collections; `tests.gateway.attacks` runs them where the target keeps some."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator

import httpx
import numpy as np
from PIL import Image

from tests.gateway.alone import Alone
from tests.gateway.attack_tools import FLOOD_PATIENCE, PATIENCE, connected, head, poured

NAME = "attacked"
ITEMS = f"/v1/collections/{NAME}/items"
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'


def prepare(target: Alone) -> None:
    """Have the engine of indexes loaded, whose own size is none of an attack's."""
    with caller(target) as client:
        answer = client.post(f"/v1/collections/{NAME}/search", json={"query": "a"})
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def caller(target: Alone) -> Iterator[httpx.Client]:
    """A client with the key, and a collection to send to."""
    headers = {"authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=target.http, headers=headers, timeout=PATIENCE) as client:
        made = client.post("/v1/collections", json={"name": NAME, "fields": {"album": "text"}})
        assert made.status_code in (201, 409), made.text
        yield client


def endless_line(target: Alone, size: int) -> tuple[str, str]:
    """Collections: a line that does not end."""
    with caller(target), connected(target) as connection:
        kind = b"Content-Type: application/x-ndjson"
        begin = head(target, kind, b"Transfer-Encoding: chunked", path=ITEMS.encode())
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        return "a line without end", poured(connection, begin, chunk, 2_000_000_000)


def unread_outcomes(target: Alone, size: int) -> tuple[str, str]:
    """Collections: line after line, and no outcome read."""
    with caller(target), connected(target) as connection:
        kind = b"Content-Type: application/x-ndjson"
        begin = head(target, kind, b"Transfer-Encoding: chunked", path=ITEMS.encode())
        connection.sendall(begin)
        connection.settimeout(FLOOD_PATIENCE)
        sent = 0
        try:
            while sent < size * 20_000:
                connection.sendall(b"8000\r\n" + b"{}\n" * 10_922 + b"{}\r\n")
                sent += 32_768
        except OSError:
            return "lines", f"held back after {sent:,} bytes"
        return "lines", f"{sent:,} bytes taken"


def form_heads(target: Alone, size: int) -> tuple[str, str]:
    """Collections: a part of a form with headers without end."""
    return _forms(target, [FILE + b"a:b\r\n" * (size * 10_000), FILE + b"a: " + b"b" * (size * 10_000)])


def form_parts(target: Alone, size: int) -> tuple[str, str]:
    """Collections: a form of more parts than items are allowed."""
    field = b'--x\r\nContent-Disposition: form-data; name="caption"\r\n\r\nx\r\n'
    return _forms(target, [(FILE + b"\r\nx\r\n") * 20_000, field * 20_000])


def _forms(target: Alone, contents: list[bytes]) -> tuple[str, str]:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    with caller(target) as client:
        back = Counter(client.post(ITEMS, content=one, headers=kind).status_code for one in contents)
    told = ", ".join(f"{count} × {status}" for status, count in sorted(back.items()))
    return f"forms of {max(map(len, contents)):,} bytes", told


def filters(target: Alone, size: int) -> tuple[str, str]:
    """Collections: filters that are deep, long, or of one enormous name."""
    deep: object = {"album": "a"}
    for _ in range(900):
        deep = {"$not": deep}
    shapes: list[object] = [
        deep,
        {"$or": [{"album": "a"}] * 200_000},
        {"album": {"$in": ["a"] * 200_000}},
        {"x" * (size * 1000): 1},
        {"album": {"\x00" * (size * 1000): 1}},
    ]
    with caller(target) as client:
        answers = [
            client.post(
                f"/v1/collections/{NAME}/search",
                content=json.dumps({"query": "a", "filter": one}),
                headers={"content-type": "application/json"},
            )
            for one in shapes
        ]
    back = Counter(answer.status_code for answer in answers)
    told = ", ".join(f"{count} × {status}" for status, count in sorted(back.items()))
    longest = max(len(answer.content) for answer in answers)
    return f"{len(shapes)} filters", f"{told}, in at most {longest:,} bytes"


def ranges(target: Alone, size: int) -> tuple[str, str]:
    """Collections: an original in a thousand overlapping ranges."""
    pixels = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    asked = [",".join(f"{n}-" for n in range(1000)), ",".join("0-" for _ in range(90)), ",".join(["-1"] * 90)]
    with caller(target) as client:
        (one,) = client.post(ITEMS, files=[("file", ("a.png", stream.getvalue(), "image/png"))]).json()[
            "items"
        ]
        address = f"{ITEMS}/{one['id']}/content"
        answers = [
            client.get(address, headers={"range": f"bytes={given}"})
            for _ in range(max(1, size // 50))
            for given in asked
        ]
    back = Counter(answer.status_code for answer in answers)
    told = ", ".join(f"{count} × {status}" for status, count in sorted(back.items()))
    most = max(len(answer.content) for answer in answers) / len(stream.getvalue())
    return f"{len(answers)} requests", f"{told}, at most {most:.2f} times the file"


ATTACKS = (endless_line, unread_outcomes, form_heads, form_parts, filters, ranges)
