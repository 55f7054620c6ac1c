"""Lists of images by their address on the Web: fetched from named hosts, and from nowhere without."""

from __future__ import annotations

import asyncio
import csv
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from babelclip import Client
from babelclip.cli.main import app
from babelclip.fetching import fetcher, public_addresses
from babelclip.index import Settings, create_index, open_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.addresses import AddressReader
from babelclip.ingest.sources.base import EntryUnreadable
from babelclip.ingest.sources.reading import read_row
from babelclip.ingest.sources.table import TableSource
from tests.clients.fake_server import FakeServer
from tests.clients.fetching.web import IMAGE, INSIDE, PUBLIC, Names, Web, web
from tests.clients.ingest.counting import Counting

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusted; to read the usual list takes its time
judged_public = public_addresses.is_public


@pytest.fixture(autouse=True)
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets one address of this machine pass for one of the Internet; all others are judged as ever."""
    monkeypatch.setattr(
        public_addresses, "is_public", lambda address: address == PUBLIC or judged_public(address)
    )


def beside_a_web(work: Callable[[Web], None]) -> None:
    """Does some work in a thread while the web answers."""

    async def run() -> None:
        async with web() as there:
            await asyncio.to_thread(work, there)

    asyncio.run(run())


def listed(path: Path, port: int) -> Path:
    """A table of an image, of one behind a name that leads inside, and of one at a host that nobody named."""
    with path.open("w", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["url", "caption"])
        rows.writerow([f"http://photos.example:{port}/cat.png", "a cat"])
        rows.writerow([f"http://inside.example:{port}/cat.png", "a trap"])
        rows.writerow([f"http://other.test:{port}/cat.png", "elsewhere"])
    return path


def names() -> Names:
    return Names(photos_example=[[PUBLIC]], inside_example=[[INSIDE]], other_test=[[PUBLIC]])


def test_a_list_is_fetched_from_named_hosts_alone(tmp_path: Path) -> None:
    """What may not be fetched is a row with its error; what was fetched once is not asked for again."""
    server = Counting()

    def work(there: Web) -> None:
        source_file = listed(tmp_path / "list.csv", there.port)
        with (
            create_index(tmp_path / "index", Settings(space="in-memory", dim=32)) as index,
            AddressReader([f"*.example:{there.port}"], resolver=names(), trusted=NOBODY) as read,
        ):
            source = TableSource(source_file, fetch=read)
            report = add(index, Client("", transport=server), source)
            assert (report.embedded, report.failed) == (1, 2)
            assert server.images() == [IMAGE]
            (found,) = index.scan(columns=("source", "caption", "error_code", "kind"))
            errors = {row.caption: row.error_code for row in found}
            assert errors == {"a cat": "", "a trap": "image_not_fetched", "elsewhere": "image_not_fetched"}
            assert [at for at, _ in there.seen] == [PUBLIC]
            again = add(index, Client("", transport=server), source)
            assert (again.unchanged, again.embedded, again.failed) == (1, 0, 2)
            assert len(there.seen) == 1
            row = next(row for row in found if row.caption == "a cat")
            assert read_row(row, fetch=read) == IMAGE
            with pytest.raises(EntryUnreadable, match="nothing is fetched"):
                read_row(row)

    beside_a_web(work)


def test_the_command_fetches_from_named_hosts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, web: FakeServer
) -> None:
    """`--fetch-from` names the hosts; without it nothing is asked for, and a wrong one is told of."""
    monkeypatch.setattr(fetcher, "Resolver", names)
    monkeypatch.setattr(fetcher, "ssl_context", lambda _: NOBODY)
    address = str(tmp_path / "index")

    def run(*words: Any) -> Any:
        arguments = ["index", "add", address, *(str(word) for word in words)]
        return CliRunner().invoke(app, arguments, env={"BABELCLIP_URL": web.url})

    def work(there: Web) -> None:
        table = listed(tmp_path / "list.csv", there.port)
        assert run(table).exit_code == 1
        assert not there.seen
        done = run(table, "--fetch-from", f"photos.example:{there.port}")
        assert "1 embedded" in done.stderr, done.output
        assert [at for at, _ in there.seen] == [PUBLIC]
        wrong = run(table, "--fetch-from", "http://photos.example")
        assert "'http://photos.example' is no host" in wrong.stderr
        folder = run(tmp_path, "--fetch-from", "photos.example")
        assert "only a table names images by their address" in folder.stderr

    beside_a_web(work)
    with open_index(address) as index:
        assert index.count({"error_code": ""}) == 1
