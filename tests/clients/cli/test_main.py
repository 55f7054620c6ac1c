"""The command line: results, errors of one line, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from babelclip import Client, SpaceMismatch
from babelclip.cli.console import printable
from babelclip.cli.main import app
from tests.clients.fake_server import DIM, SPACE, FakeServer, vector_of
from tests.places import REPOSITORY


def run(server: FakeServer | None, *arguments: str | Path) -> Result:
    """One command against a server."""
    url = server.url if server else "http://127.0.0.1:9"
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"BABELCLIP_URL": url})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them broken, among what is no image."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "one.JPG").write_bytes(b"one")
    (tmp_path / "deep" / "er" / "[red]two.png").write_bytes(b"two")
    (tmp_path / "deep" / "broken.webp").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_bytes(b"text")
    (tmp_path / ".hidden" / "three.png").write_bytes(b"three")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    return tmp_path


def test_embed_writes_numpy(server: FakeServer, tmp_path: Path) -> None:
    """The file is exactly where it was asked for, float32 [items, dim], in order; over both protocols."""
    done = run(server, "embed", "a cat", "un chat", "--output", tmp_path / "vectors")
    assert done.exit_code == 0, done.stderr
    saved = np.load(tmp_path / "vectors")
    np.testing.assert_array_equal(saved, [vector_of(b"a cat"), vector_of(b"un chat")])
    assert saved.dtype == np.float32
    assert SPACE in done.stderr
    assert done.stdout == ""


def test_health_says_whether_both_towers_work(server: FakeServer) -> None:
    """A probe exits with 0 only when both towers pass, and else says why in one line; over both protocols."""
    done = run(server, "health")
    assert (done.exit_code, done.stdout.split()[-1]) == (0, SPACE)
    assert json.loads(run(server, "health", "--json").stdout) == {"status": "pass", "space": SPACE}
    for tower in ("text", "vision"):
        server.sick = tower
        done = run(server, "health")
        assert done.exit_code == 1
        assert "canary_mismatch" in done.stderr
        assert done.stdout == ""


def test_embed_json_gives_back_every_bit(web: FakeServer, folder: Path) -> None:
    """The JSON numbers are the vectors themselves; a failed item is null, and the exit code says so."""
    files = [folder / "one.JPG", folder / "deep" / "broken.webp", folder / "none.png"]
    web.default = "1.0"
    done = run(web, "embed", "--json", "--image", *files)
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert document["version"] == "1.0"
    assert (document["space"], document["dim"], document["logit_scale"]) == (SPACE, DIM, 20.0)
    np.testing.assert_array_equal(np.float32(document["embeddings"][0]), vector_of(b"one"))
    assert document["embeddings"][1:] == [None, None]
    assert [(e["index"], e["code"]) for e in document["errors"]] == [
        (1, "image_undecodable"),
        (2, "unreadable_file"),
    ]
    assert "none.png: unreadable_file" in done.stderr


def test_embed_shows_vectors(web: FakeServer) -> None:
    """Without options a person sees something readable, what was cut, and what the model cannot read."""
    done = run(web, "embed", "a cat", "x" * 2000, "unknown 𓀀")
    assert done.exit_code == 0
    assert "a cat" in done.stdout
    assert f"{vector_of(b'a cat')[0]:+.4f}" in done.stdout
    assert "cut to the model's token limit" in done.stderr
    assert "letters that the model does not know" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed",),
        ("embed", "text", "--image", "file"),
        ("similarity", "text"),
        ("similarity", "--image", "f"),
        ("search", "x"),
        ("search", ".", "q", "--top", "0"),
        ("dance",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    """A wrong command line is told apart from a failed call."""
    assert run(None, *arguments).exit_code == 2


def test_similarity_is_a_table(web: FakeServer, folder: Path) -> None:
    """Texts are rows, images columns; one `--image` takes all files after it, as a shell expands them."""
    files = [folder / "one.JPG", folder / "deep" / "er" / "[red]two.png"]
    done = run(web, "similarity", "a", "b", "--image", *files)
    assert done.exit_code == 0, done.stderr
    assert "[red]two.png" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("│ b"))
    assert f"{vector_of(b'b') @ vector_of(b'two'):.3f}" in row


def test_similarity_json_has_null_for_failures(web: FakeServer, folder: Path) -> None:
    """A program reads [texts][images], with null where there is no vector."""
    files = [folder / "deep" / "broken.webp", folder / "one.JPG"]
    done = run(web, "similarity", "a", "--image", files[0], "--image", files[1], "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert document["cosines"][0][0] is None
    assert document["cosines"][0][1] == pytest.approx(float(vector_of(b"a") @ vector_of(b"one")), abs=1e-6)
    assert document["errors"][0]["item"] == str(files[0])


def test_search_ranks_a_folder(server: FakeServer, folder: Path) -> None:
    """Every query gets its best images first; broken ones are listed, hidden ones and loops left alone."""
    done = run(server, "search", folder, "a", "b", "--json")
    assert done.exit_code == 1, done.stderr
    document = json.loads(done.stdout)
    assert [query["query"] for query in document["queries"]] == ["a", "b"]
    for query in document["queries"]:
        cosines = [result["cosine"] for result in query["results"]]
        assert cosines == sorted(cosines, reverse=True)
        assert {Path(result["path"]).name for result in query["results"]} == {"one.JPG", "[red]two.png"}
    assert [Path(skipped["item"]).name for skipped in document["skipped"]] == ["broken.webp"]


def test_search_shows_the_best(web: FakeServer, folder: Path) -> None:
    """`--top` limits the table, names are never taken for markup, and the skipped come last."""
    done = run(web, "search", folder, "a", "--top", "1")
    best = max(("one.JPG", b"one"), ("[red]two.png", b"two"), key=lambda i: vector_of(b"a") @ vector_of(i[1]))
    assert done.exit_code == 1
    assert best[0] in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("│")]) == 1
    assert "skipped 1 of 3 images and folders" in done.stderr
    assert "broken.webp: image_undecodable" in done.stderr


def test_embeddings_are_written_for_many_searches(server: FakeServer, folder: Path) -> None:
    """The files are there and the skipped are named, with an exit code that says some were; over both."""
    done = run(server, "embeddings", folder, folder / "vectors")
    assert done.exit_code == 1
    assert f"wrote float32 [2, {DIM}] of the space {SPACE}" in done.stderr
    assert "broken.webp: image_undecodable" in done.stderr
    expected = [vector_of(b"two"), vector_of(b"one")]
    np.testing.assert_array_equal(np.load(folder / "vectors" / "embeddings.npy"), expected)
    document = json.loads(run(server, "embeddings", folder, folder / "vectors", "--json").stdout)
    assert (document["space"], document["images"], document["dim"]) == (SPACE, 2, DIM)
    assert [Path(skipped["path"]).name for skipped in document["skipped"]] == ["broken.webp"]


def test_embeddings_of_good_images_are_all_done(web: FakeServer, folder: Path) -> None:
    """Where nothing was skipped the exit code is 0."""
    (folder / "deep" / "broken.webp").unlink()
    assert run(web, "embeddings", folder, folder / "vectors").exit_code == 0


def test_search_of_nothing_but_broken_images_fails(web: FakeServer, tmp_path: Path) -> None:
    """A search that could rank nothing is no success, and nor are vectors of nothing; the file is named."""
    (tmp_path / "a.png").write_bytes(b"broken")
    for command in (("search", tmp_path, "q"), ("embeddings", tmp_path, tmp_path / "vectors")):
        done = run(web, *command)
        assert done.exit_code == 1
        assert "a.png: image_undecodable" in done.stderr


@pytest.mark.parametrize("command", ["search", "embeddings"])
def test_patterns_leave_images_out(web: FakeServer, folder: Path, tmp_path: Path, command: str) -> None:
    """`--exclude` adds to what is left out, and `--no-exclude-defaults` brings the hidden ones in."""
    rest = ["q"] if command == "search" else [tmp_path / "vectors"]

    def embedded(*options: str) -> set[str]:
        web.requests.clear()
        done = run(web, command, folder, *rest, *options, "--json")
        assert done.exit_code in (0, 1), done.stderr
        document = json.loads(done.stdout)
        if command == "search":
            return {Path(result["path"]).name for result in document["queries"][0]["results"]}
        return {Path(name).name for name in json.loads((tmp_path / "vectors" / "urls.json").read_bytes())}

    assert embedded("--exclude", "*TWO*", "--exclude", "broken.*") == {"one.JPG"}
    assert embedded("--exclude", "deep/er") == {"one.JPG"}
    assert embedded("--no-exclude-defaults") == {"one.JPG", "[red]two.png", "three.png"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("search", "q"), "interrupted"),
        (("embeddings", "vectors"), "interrupted; the same command goes on from here"),
    ],
)
def test_ctrl_c_is_no_failure_of_items(
    web: FakeServer, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, str], words: str
) -> None:
    """A command that is interrupted ends with the code of a shell, told apart from one that is incomplete."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr(Client, "embed_images", interrupt)
    done = run(web, command[0], folder, command[1])
    assert done.exit_code == 130
    assert done.stderr.splitlines() == [words]


def test_towers_of_two_spaces_are_no_health(web: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is answered with no exits with 1, one that is not answered with 3."""

    def mismatch(*_: object, **__: object) -> None:
        raise SpaceMismatch("two spaces")

    monkeypatch.setattr(Client, "health", mismatch)
    done = run(web, "health")
    assert (done.exit_code, done.stderr) == (1, "error: two spaces\n")
    monkeypatch.undo()
    assert run(None, "health", "--timeout", "0.5").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("embed", "a"), "127.0.0.1:9: .*refused"),
        (("embed", "a", "--url", "gopher://x"), "must start with http://"),
        (("embed", "a", "--token-file", "/no/such"), "no token from the file /no/such"),
        (("embed", "a", "--url", "mar:/no/such"), "/no/such is no model store"),
        (("search", "/no/such/folder", "q"), "No such file or directory"),
        (("embeddings", "/no/such/folder", "/no/such/output"), "No such file or directory"),
        (("embed", "--image", "x", "--output", "/no/such/folder/x.npy"), "No such file or directory"),
    ],
)
def test_failures_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    """Whatever fails is one sentence on standard error and exit code 3, never a traceback."""
    done = run(None, *arguments)
    assert done.exit_code == 3
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(words, line)


def test_a_wrong_token_is_explained(server: FakeServer, tmp_path: Path) -> None:
    """The commonest mistake with a TorchServe, over both protocols, and how it goes away."""
    server.token = "right"
    done = run(server, "embed", "a", "--token", "wrong")
    assert done.exit_code == 3
    assert "refused the token" in done.stderr
    (tmp_path / "key_file.json").write_text('{"inference": {"key": "right"}}')
    assert run(server, "embed", "a", "--token-file", tmp_path / "key_file.json").exit_code == 0


def test_an_empty_folder_is_an_error(web: FakeServer, tmp_path: Path) -> None:
    """A mistyped folder is not an empty result."""
    done = run(web, "search", tmp_path, "q")
    assert done.exit_code == 3
    assert "no images in" in done.stderr


def test_terminals_are_not_commanded() -> None:
    """A file name or a server's message cannot move the cursor, and a broken name can be printed."""
    assert printable("a\x1b[31m\n\udcff[b] 猫") == "a\\x1b[31m\\n\\udcff[b] 猫"


def test_the_module_runs(web: FakeServer, tmp_path: Path) -> None:
    """`python -m babelclip` works where neither the terminal nor the names of files are UTF-8."""
    name = os.fsencode(tmp_path) + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(b"broken")
    (tmp_path / "good.png").write_bytes(b"good")
    environment = {
        "PYTHONPATH": str(REPOSITORY / "clients"),
        "PYTHONIOENCODING": "ascii",
        "BABELCLIP_URL": web.url,
    }
    command = [sys.executable, "-W", "error", "-m", "babelclip", "search", str(tmp_path), "猫"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "good.png" in done.stdout
    assert "\\u732b" in done.stdout
    assert "\\udcff.png: image_undecodable" in done.stderr


def test_no_traceback_even_for_a_bug(tmp_path: Path) -> None:
    """An error that nobody foresaw is still one line and a failing exit code."""
    program = "import babelclip.cli.main as c; c.app = lambda: 1 / 0; c.main()"
    environment = {"PYTHONPATH": str(REPOSITORY / "clients")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == "error: unexpected ZeroDivisionError: division by zero\n"


@pytest.mark.parametrize("command", ["embed", "similarity"])
def test_the_language_of_texts_goes_with_them(server: FakeServer, tmp_path: Path, command: str) -> None:
    """Images have none."""
    (tmp_path / "one.jpg").write_bytes(b"one")
    image: list[str | Path] = ["--image", tmp_path / "one.jpg"] if command == "similarity" else []
    done = run(server, command, "una rosa", "--language", "es", *image)
    assert done.exit_code == 0, done.stderr
    said = {model: request.language for model, _, request in server.requests}
    assert said == {"text": "es", **({"vision": ""} if image else {})}
