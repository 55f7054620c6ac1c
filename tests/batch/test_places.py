"""Files on the Web: only of hosts that were allowed."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from batch.inputs.places import Places
from batch.inputs.reading import batches
from batch.shards import Shard
from batch.storage.local import LocalStorage
from tests.batch.support import image_job, make_shards


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved.tar":
            self.send_response(302)
            self.send_header("Location", "/000.tar")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a server of one tar."""
    folder = tmp_path_factory.mktemp("web")
    make_shards(folder, 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_a_shard_of_an_allowed_host_is_read(server: str, tmp_path: Path) -> None:
    """Its items are called by its address."""
    place = f"http://{server}/000.tar"
    with (
        Places([server]) as places,
        batches(
            Shard(0, "tar", place), image_job(), places, partial(LocalStorage(tmp_path).reading, "listing")
        ) as (_, found),
    ):
        items = [item for group in found for item in group]
    assert [item.source for item in items] == [f"{place}#{n:03d}.jpg" for n in range(4)]


def test_other_hosts_are_not_asked(server: str) -> None:
    """Without its name nothing is asked, and a redirect is not followed."""
    with (
        pytest.raises(OSError, match="may not be asked: allow it with --allow-host 127"),
        Places().reading(f"http://{server}/000.tar"),
    ):
        pass
    with (
        Places([server]) as places,
        pytest.raises(OSError, match="status 302"),
        places.reading(f"http://{server}/moved.tar"),
    ):
        pass
    with (
        Places([server]) as places,
        pytest.raises(OSError, match="status 404"),
        places.reading(f"http://{server}/001.tar"),
    ):
        pass


def test_what_lies_on_the_web_can_be_read_anywhere(server: str) -> None:
    """Parquet is read from its end: the file is copied first."""
    with Places([server]) as places, places.seeking(f"http://{server}/000.tar") as file:
        file.seek(0)
        assert file.read(7) == b"000.jpg"
