"""scripts/serve: TorchServe and the gateway start and end together, and serve a model from its own files."""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tokenizers import Tokenizer

from babelclip import Client
from models import checkpoint
from tests.e2e.support import PATIENCE, Launcher, alive, launched, summed
from tests.miniature import emoji_root, make_model, words
from tests.places import MINI

__all__ = ["emoji_root", "words"]

SHOWN = "shown this once: "


@contextlib.contextmanager
def served(*arguments: str | Path) -> Iterator[Launcher]:
    """scripts/serve.py on free ports; it is stopped at the end."""
    with launched(*arguments, "--ports", "auto", script="serve.py") as launcher:
        yield launcher


def shown_key(launcher: Launcher) -> str:
    """The key that the first start has shown."""
    (line,) = [line for line in launcher.lines if SHOWN in line]
    return line.partition(SHOWN)[2]


def embed(facts: dict[str, Any], key: str, texts: list[str], model: str) -> httpx.Response:
    """One call of /v1/embeddings."""
    headers = {"authorization": f"Bearer {key}"}
    body = {"input": texts, "model": model, "encoding_format": "base64"}
    return httpx.post(f"{facts['http']}/v1/embeddings", json=body, headers=headers, timeout=PATIENCE)


def wait_for(holds: Callable[[], object]) -> None:
    """Wait for what must come to hold."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def check_end_of_all(launcher: Launcher, facts: dict[str, Any], victim: str) -> None:
    """The end of one is the end of all: whoever supervises the command sees it, and reads a sentence."""
    family = launcher.family()
    gateway = next(one for one in family if "gateway" in one.cmdline())
    java = next(one for one in family if one.name() == "java")
    dies = {"engine": java, "gateway": gateway, "launcher": psutil.Process(facts["pid"])}
    dies[victim].kill()
    status, printed = launcher.wait_ended()
    wait_for(lambda: not alive(family))
    assert "Traceback" not in printed
    if victim == "launcher":
        assert status == -signal.SIGKILL
    else:
        assert status == 1
        said = {"engine": "TorchServe ended with status 1", "gateway": "the gateway was ended by SIGKILL"}
        assert f"serve: {said[victim]}, and all else with it" in printed


def test_one_command_serves_and_a_stop_answers_what_is_under_way(store: Path, tmp_path: Path) -> None:
    """The line `ready:` and the key that is shown are all a caller needs; SIGTERM loses no request.

    The next start shows no key, lets the same one in, and ends when TorchServe does.
    """
    with served("--store", store, "--run-dir", tmp_path, "--gateway-workers", "2") as launcher:
        facts = launcher.wait_facts()
        key = shown_key(launcher)
        assert facts["keys_file"] == str(tmp_path / "gateway" / "keys.json")
        assert facts["pid"] == launcher.process.pid
        answer = embed(facts, key, ["a cat"], facts["model"])
        assert (answer.status_code, facts["model"]) == (200, "mini"), answer.text
        assert answer.json()["space"] == facts["space"] == facts["engine"]["space"]
        assert embed(facts, "bck_wrong", ["a cat"], "mini").status_code == 401
        family = launcher.family()
        texts = [f"text {number}" for number in range(2048)]
        with ThreadPoolExecutor(1) as pool:

            def under_way() -> bool:
                seen = summed(httpx.get(facts["metrics"]).text, "babelclip_gateway_requests_in_progress")
                return bool(seen) or asked.done()

            asked = pool.submit(embed, facts, key, texts, "mini")
            wait_for(under_way)
            launcher.process.send_signal(signal.SIGTERM)
            assert asked.result(PATIENCE).status_code == 200
        status, printed = launcher.wait_ended()
    assert status == 0, printed
    assert "Traceback" not in printed
    wait_for(lambda: not alive(family))
    with served("--store", store, "--run-dir", tmp_path) as launcher:
        facts = launcher.wait_facts()
        assert not [line for line in launcher.lines if "bck_" in line]
        assert embed(facts, key, ["a cat"], "mini").status_code == 200
        check_end_of_all(launcher, facts, "engine")


def test_a_killed_launcher_takes_all_with_it(store: Path, tmp_path: Path) -> None:
    """Nothing keeps the ports though nobody is left who could have ended the others."""
    with served("--store", store, "--run-dir", tmp_path) as launcher:
        check_end_of_all(launcher, launcher.wait_facts(), "launcher")


def test_a_model_of_the_hub_is_exported_once_and_served_by_its_name(
    words: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the hub's cache is served by one command; the next start finds it exported.

    The first one ends by the end of its gateway, which ends all.
    """
    repository = tmp_path / "hub" / "models--someone--tiny"
    commit = "0" * 40
    checkpoint.save(
        repository / "snapshots" / commit, make_model(words), words, languages=["en"], training={}
    )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = ("hf-hub:someone/tiny", "--programs", "onnx", "--store", tmp_path / "store")
    with served(*source, "--run-dir", tmp_path / "run") as launcher:
        facts = launcher.wait_facts()
        assert facts["model"] == "someone/tiny"
        answer = embed(facts, shown_key(launcher), ["red circle"], "someone/tiny")
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == f"someone/tiny@{facts['version']}"
        check_end_of_all(launcher, facts, "gateway")
    with served(*source, "--run-dir", tmp_path / "run", "--no-gateway") as launcher:
        server = launcher.wait_ready()
        assert (server.space, server.pid) == (facts["space"], launcher.process.pid)
        assert any("nothing to do" in line for line in launcher.lines)
        with Client(server.http, token_file=server.token_file) as client:
            assert client.embed_texts(["red circle"]).space == facts["space"]


def test_what_cannot_be_exported_or_served_is_one_sentence(store: Path, tmp_path: Path) -> None:
    """A newcomer's typing error is no stack trace, wherever it is found."""
    run = ("--run-dir", tmp_path / "run")
    broken = tmp_path / "broken"
    shutil.copytree(MINI, broken)
    (broken / "meta.json").write_text("{")
    for arguments, says in (
        ((tmp_path / "nowhere",), "nowhere: no such file or folder"),
        ((broken, "--store", tmp_path / "store"), "meta.json"),
        (("--store", tmp_path / "empty"), "is no model store"),
        (("--store", store, "--gateway-config", tmp_path / "none.toml"), "cannot read"),
        (("--store", store, "--inference-port", "70000"), "inference cannot listen on 127.0.0.1:70000"),
    ):
        with served(*arguments, *run) as launcher:
            status, printed = launcher.wait_ended()
        (line,) = printed.splitlines()
        assert status == 1
        assert line.startswith(("export: ", "serve: "))
        assert says in line


def test_a_stop_during_the_export_leaves_nothing(tmp_path: Path) -> None:
    """Whoever takes the wrong model need not wait for it."""
    store = tmp_path / "store"
    with served(MINI, "--store", store, "--run-dir", tmp_path / "run") as launcher:
        wait_for(lambda: list(store.glob(".export-*")))
        launcher.process.terminate()
        status, printed = launcher.wait_ended()
    assert status == 0, printed
    assert "Traceback" not in printed
    assert "serve: stopped" in printed
    assert not list(store.iterdir())
