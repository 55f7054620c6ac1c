"""A small server of files that answers as real ones do: ranges, versions, redirects, failures on demand."""

import contextlib
import hashlib
import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileSite:
    """What is served, what happens to the next requests of a path, and what was asked.

    `failures` of a path: "cut" and "cut_early" end the connection within the body, "busy" is 503 with no
    rest, "closed" 503 with a long one, "gone" 404, "slow" sends a byte and no more, "other_part" another
    range than was asked for.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    failures: defaultdict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    ranges: bool = True
    tags: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, and the Range header or ""
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(one == path for one, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Answers out of the FileSite of its server."""

    site: FileSite

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, asked = self.path.partition("?")[0], self.headers.get("Range", "")
        self.site.asked.append((path, asked))
        failure = self.site.failures[path].popleft() if self.site.failures[path] else ""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.answer(path, asked, failure)

    def answer(self, path: str, asked: str, failure: str) -> None:
        if path in self.site.redirects:
            return self.send(302, b"", Location=self.site.redirects[path])
        if failure in ("busy", "closed"):
            return self.send(503, b"", Retry_After="0" if failure == "busy" else "3600")
        if failure == "gone" or path not in self.site.files:
            return self.send(404, b"no such file")
        data = self.site.files[path]
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": tag} if self.site.tags else {}
        begin, status = 0, 200
        found = re.fullmatch(r"bytes=([0-9]+)-", asked)
        if found and self.site.ranges and self.headers.get("If-Range", tag) == tag:
            begin, status = int(found[1]), 206
            if begin >= len(data):
                return self.send(416, b"", Content_Range=f"bytes */{len(data)}")
            first = begin + 1 if failure == "other_part" else begin
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        return self.send(status, data[begin:], failure, **headers)

    def send(self, status: int, body: bytes, failure: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if failure == "slow":
            self.wfile.write(body[:1])
            self.wfile.flush()
            self.site.ended.wait()
            return
        parts = {"cut": len(body) // 2, "cut_early": 0}
        self.wfile.write(body[: parts.get(failure, len(body))])


@contextlib.contextmanager
def serving(site: FileSite) -> Iterator[FileSite]:
    """The site, at `site.url` while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        site.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
