"""The page's files as they are served: the policy, what may be kept, and that they need nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.http.page import POLICY
from gateway.page.files import read_page
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

STATIC = Path(read_page.__wrapped__.__code__.co_filename).parent / "static"
TEXTS = [path for path in sorted(STATIC.rglob("*")) if path.suffix in (".html", ".css", ".js")]
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that asks for a key."""
    with gateway(Engine(), tmp_path_factory.mktemp("front")) as served:
        yield served


def test_the_page_needs_no_key_and_may_run_its_own_scripts_alone(front: Front) -> None:
    """A browser that is sent to the gateway gets the page, under a policy that allows no others' code."""
    answer = httpx.get(front.addresses.http, headers=HTML, follow_redirects=True)
    assert answer.url.path == "/ui/"
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy == POLICY
    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_program_is_not_sent_to_the_page(front: Front) -> None:
    """A program that calls an address without its path is told so, instead of getting HTML."""
    assert front.get("/", accept="application/json").json()["error"]["code"] == "unknown_path"


def test_what_may_be_kept_is_named_by_its_content(front: Front) -> None:
    """A browser keeps the files for ever and asks for the page anew, so a new version is seen at once."""
    page = front.get("/ui/")
    assert page.headers["cache-control"] == "no-cache"
    names = re.findall(r'(?:href|src)="(files/[^"]+)"', page.text)
    assert len(names) > 20
    with httpx.Client(base_url=f"{front.addresses.http}/ui/") as client:
        answers = [client.get(name) for name in names]
    for answer in answers:
        assert (answer.status_code, answer.headers["cache-control"]) == (
            200,
            "public, max-age=31536000, immutable",
        )
        assert answer.headers["content-security-policy"] == POLICY
    known = page.headers["etag"]
    again = front.get("/ui/", **{"if-none-match": f'"other", W/{known}'})
    assert (again.status_code, again.content) == (304, b"")


def test_files_are_packed_for_who_accepts_it(front: Front) -> None:
    """Over a slow line the page comes gzipped, and whoever accepts no gzip gets the same bytes plain."""
    path = f"/ui/files/{read_page().digest}/main.js"
    plain, packed = front.get(path, **{"accept-encoding": "identity"}), front.get(path)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content == (STATIC / "main.js").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "files/0000000000000000/main.js",
        "files/{digest}/nothing.js",
        "files/{digest}/../../files.py",
        "main.js",
    ],
)
def test_nothing_else_is_served(front: Front, path: str) -> None:
    """An address that is none of the page's files is refused, whatever is on the disk."""
    with httpx.Client() as client:
        request = client.build_request("GET", front.addresses.http)
        request.url = request.url.copy_with(raw_path=f"/ui/{path.format(digest=read_page().digest)}".encode())
        assert client.send(request).status_code == 404


def test_the_page_needs_no_other_host_and_no_markup_from_texts() -> None:
    """No file names another host, and none has inline code or a call that would make markup of a text."""
    forbidden = re.compile(
        r"https?://(?!www\.w3\.org/)|innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        r"|\beval\(|new Function|<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=\""
    )
    for path in TEXTS:
        found = forbidden.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found}"


def test_every_module_that_is_named_is_there() -> None:
    """No import of a module leads nowhere, and no file is left that nothing names."""
    named = {"main.js", "icon.svg"}
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'from "\./([^"]+)"', text):
            assert (path.parent / name).is_file(), f"{path.name} names {name}"
            named.add(name)
        named |= set(re.findall(r'"FILES/([^"]+)"', text))
    assert named == set(read_page().files)


def test_every_text_is_in_every_language() -> None:
    """Each text that the page shows is there in each language, with the same values filled in."""
    entry = re.compile(r"^  (\w+):\s*(.+?),$", re.MULTILINE | re.DOTALL)
    plurals = re.compile(r"\{\s*((?:zero|one):.*?)\s*\},", re.DOTALL)
    texts = {}
    for path in sorted((STATIC / "strings").glob("*.js")):
        entries = entry.findall(plurals.sub(r"\1,", path.read_text(encoding="utf-8")))
        texts[path.stem] = {name: set(re.findall(r"\{(\w+)\}", value)) for name, value in entries}
    assert set(texts) == {"en", "de", "ar"}
    assert texts["de"] == texts["ar"] == texts["en"]
    named = re.compile(r'\bt\("(\w+)"|data-(?:text|label|placeholder)="(\w+)"')
    used = {one or other for path in TEXTS for one, other in named.findall(path.read_text(encoding="utf-8"))}
    assert used <= set(texts["en"])
