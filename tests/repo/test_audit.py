"""scripts/audit: planted vulnerabilities are found, and what is allowed is allowed until its end."""

import contextlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import audit
import pytest
from audit import AuditError
from hypothesis import given
from hypothesis import strategies as st
from lock_pins import Pin, write

from tests.places import REPOSITORY

TODAY = date(2026, 6, 1)
# What `pip-audit --format json` wrote of three packages.
REPORT = json.loads(Path(__file__).with_name("audit_report.json").read_text(encoding="utf-8"))


def allowed(tmp_path: Path, *entries: str) -> Path:
    """A list of these entries."""
    path = tmp_path / "audit.toml"
    path.write_text("".join(f"[[allowed]]\n{entry}\n" for entry in entries))
    return path


def entry(name: str = "CVE-2022-40897", package: str = "Setuptools", until: str = "2026-12-31") -> str:
    return f'id = "{name}"\npackage = "{package}"\nreason = "it is not run"\nuntil = {until}'


def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *entries: str, report: Any = REPORT
) -> tuple[int, str]:
    """The status and what was said."""
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    status = audit.main(["--report", str(file), "--allowed", str(allowed(tmp_path, *entries))], today=TODAY)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_the_list_of_the_repository_is_sound() -> None:
    """Each entry has its fields, and none is so far off that nobody will look again."""
    for each in audit.allowances(REPOSITORY / "scripts" / "audit.toml"):
        assert each.until.year < 2030


def test_a_planted_vulnerability_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pin with a known vulnerability fails, with its names and the version that mends it."""
    status, said = run(tmp_path, capsys)
    assert status == 1
    assert "setuptools 65.5.0: CVE-2022-40897, GHSA-r9hx-vwmv-q579, PYSEC-2022-43012; fixed in 65.5.1" in said


def test_what_is_allowed_passes_by_any_of_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name in the list may be PyPI's, the CVE's or GitHub's."""
    for name in ("CVE-2022-40897", "PYSEC-2022-43012", "GHSA-r9hx-vwmv-q579"):
        assert run(tmp_path, capsys, entry(name)) == (
            0,
            "audit: 3 packages, 1 known vulnerabilities, all of them allowed\n",
        )


def test_an_allowance_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On its last day it holds, a day later somebody must look again."""
    assert run(tmp_path, capsys, entry(until="2026-06-01"))[0] == 0
    status, said = run(tmp_path, capsys, entry(until="2026-05-31"))
    assert status == 1
    assert "it was allowed until 2026-05-31" in said


@pytest.mark.parametrize("other", [entry(name="CVE-2000-1"), entry(package="pip")])
def test_an_allowance_for_nothing_is_named(
    other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list does not keep what was mended long ago, or would hide another package's."""
    status, said = run(tmp_path, capsys, entry(), other)
    assert status == 1
    assert "is not found any more" in said


@pytest.mark.parametrize(
    "text",
    [
        'id = "CVE-1"\npackage = "pip"\nuntil = 2027-01-01',
        'id = "CVE-1"\npackage = "pip"\nreason = " "\nuntil = 2027-01-01',
        'id = "CVE-1"\npackage = "pip"\nreason = "x"\nuntil = "2027-01-01"',
        'id = "CVE-1"\npackage = "pip"\nreason = "x"\nuntil = 2027-01-01\nfor = "ever"',
        "id = ",
    ],
)
def test_an_allowance_without_reason_or_end_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is let pass without a reason and a date."""
    status, said = run(tmp_path, capsys, text)
    assert status == 2
    assert "audit.toml" in said


def test_a_package_that_was_not_looked_up_is_no_clean_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit that has skipped something says so instead of passing."""
    report = {"dependencies": [{"name": "one", "skip_reason": "not found"}]}
    status, said = run(tmp_path, capsys, report=report)
    assert (status, "one: not found" in said) == (2, True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(
                st.sampled_from(["dependencies", "vulns", "name", "version", "id"]), each, max_size=5
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_report_or_none(report: Any) -> None:
    """A file that is something else is refused in a sentence."""
    with contextlib.suppress(AuditError):
        assert isinstance(audit.vulnerabilities(report), list)


class Advisories(BaseHTTPRequestHandler):
    """OSV's call `query`, with one vulnerability planted in one version of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        planted = (asked["package"]["name"], asked["version"]) == ("pluggy", "1.7.0")
        found = {
            "id": "GHSA-aaaa-bbbb-cccc",
            "aliases": ["CVE-2026-0001"],
            "summary": "planted",
            "details": "planted",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "pluggy", "purl": "pkg:pypi/pluggy"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.7.1"}]}],
                    "versions": ["1.7.0"],
                }
            ],
        }
        body = json.dumps({"vulns": [found]} if planted else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def advisories() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()
        thread.join()


@pytest.mark.slow  # runs pip-audit
@pytest.mark.skipif(importlib.util.find_spec("pip_audit") is None, reason="pip-audit is not installed")
def test_pip_audit_is_asked_for_every_pin(
    advisories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real pip-audit, with a service that knows of one vulnerability among the pins."""
    (tmp_path / "constraints.txt").write_text("pluggy==1.7.0\npackaging==26.3\n")
    write(tmp_path / "locks" / "torch.txt", [Pin("torch", "2.13.0", "", ("0" * 64,))])
    options = ["--service", "osv", "--osv-url", advisories, "--allowed", str(allowed(tmp_path))]
    assert audit.main(options, tmp_path, TODAY) == 1
    said = capsys.readouterr()
    assert "pluggy 1.7.0: CVE-2026-0001, GHSA-aaaa-bbbb-cccc; fixed in 1.7.1" in said.err
    options[-1] = str(allowed(tmp_path, entry("CVE-2026-0001", "pluggy")))
    assert audit.main(options, tmp_path, TODAY) == 0
    assert "3 packages, 1 known" in capsys.readouterr().out


@pytest.mark.slow  # runs pip-audit
@pytest.mark.skipif(importlib.util.find_spec("pip_audit") is None, reason="pip-audit is not installed")
def test_a_service_that_is_not_there_is_no_clean_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an answer the status is neither that of clean nor that of vulnerable pins."""
    (tmp_path / "constraints.txt").write_text("pluggy==1.7.0\n")
    write(tmp_path / "locks" / "torch.txt", [])
    options = ["--service", "osv", "--osv-url", "http://127.0.0.1:1/", "--allowed", str(allowed(tmp_path))]
    assert audit.main(options, tmp_path, TODAY) == 2
    assert "audit: pip-audit" in capsys.readouterr().err
