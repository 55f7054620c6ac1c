"""A page of a browser that calls the gateway: a preflight, the call, and what another origin's page gets."""

import http.server
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import gateway

pytestmark = pytest.mark.slow  # starts a browser

TEXTS = ["a red heart", "ቀይ ልብ"]
# The page calls as docs/dialects.md says, and tells its own server what came of it.
PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
const call = async (path, body) => {
  try {
    const answer = await fetch("%(gateway)s" + path, {
      method: "POST",
      headers: { Authorization: "Bearer %(key)s", "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: await answer.json() };
  } catch (error) {
    return { refused: String(error) };
  }
};
const texts = %(texts)s;
const told = [
  await call("/v1/embeddings", { input: texts }),
  await call("/v2/embed", { texts }),
  await call("/v1/embeddings", { input: [] }),
];
await fetch("/told", { method: "POST", body: JSON.stringify(told) });
</script>"""


class Site:
    """A web server with one page, which tells it what came of its calls."""

    def __init__(self) -> None:
        self.page = ""
        self.told: queue.Queue[list[dict[str, Any]]] = queue.Queue()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(site.page.encode() if self.path == "/" else b"")

            def do_POST(self) -> None:
                site.told.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer(b"")

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def site() -> Iterator[Site]:
    """That server, on a free port."""
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def visited(site: Site, folder: Path) -> list[dict[str, Any]]:
    """What the page told when a browser has opened it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("this machine has no Chromium")
    # --no-sandbox: as root it has none. The port is the browser's own; with it, it stays until it is ended.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    options += ["--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={folder}"]
    browser = subprocess.Popen(
        [chromium, *options, site.origin], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return site.told.get(timeout=PATIENCE)
    finally:
        browser.terminate()
        browser.wait(PATIENCE)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_may_call_where_the_operator_allows_its_origin(
    site: Site, allowed: bool, tmp_path: Path
) -> None:
    """A browser's own rules let the allowed page have vectors and refusals, and any other page neither."""
    origins = (site.origin,) if allowed else ("https://shop.example",)
    with gateway(Engine(), tmp_path, cors_origins=origins) as front:
        given = {"gateway": front.addresses.http, "key": front.key, "texts": json.dumps(TEXTS)}
        site.page = PAGE % given
        ours, coheres, empty = visited(site, tmp_path / "browser")
        expected = [front.engine.versions["1.0"].vector(text) for text in TEXTS]
    if not allowed:
        assert all("Failed to fetch" in call["refused"] for call in (ours, coheres, empty))
        assert not [call for call in front.engine.calls if TEXTS[0].encode() in call.body]
        return
    rows = [row["embedding"] for row in ours["body"]["data"]]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(coheres["body"]["embeddings"]["float"], expected, atol=1e-6)
    assert (empty["status"], empty["body"]["error"]["code"]) == (400, "empty_request")
