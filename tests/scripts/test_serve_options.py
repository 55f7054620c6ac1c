"""scripts/serve's command line, and what the processes it starts are told of it."""

import socket
from pathlib import Path

import pytest
import serve
import server

from babelclip.ray_serve import __main__ as launcher
from gateway.settings import ModelSettings, read
from serving import LaunchError, ray_engine
from serving.gateway import PREFIX, check, environment
from serving.options import engine_arguments, export_arguments
from serving.sources import model_name, store_of
from tests.places import REPOSITORY

ENGINE = {"grpc": "grpc://127.0.0.1:7171", "token_file": "/run/key_file.json"}


def test_torchserve_gets_its_options_as_they_were_given() -> None:
    """What worked with TorchServe alone works with both."""
    words = ["--store", "s", "--run-dir", "r", "--ports", "auto", "--workers", "3", "--config", "c"]
    words += ["--inference-port", "1", "--grpc-management-port", "0", "--queue-metrics-port", "0"]
    words += ["--startup-timeout", "5"]
    passed = server.parse_options(engine_arguments(serve.parse_options(words)))
    assert vars(passed) == vars(server.parse_options(words))


def test_the_export_gets_its_options_as_they_were_given() -> None:
    """Each of them is one that `python -m export` has."""
    words = ["--dtype", "bfloat16", "--programs", "onnx", "--languages", "en,de", "--architecture", "a"]
    words += ["--trim-vocab", "--lean"]
    passed = export_arguments(serve.parse_options(["hf-hub:a/b", *words]))
    assert passed == words
    command = (REPOSITORY / "export" / "__main__.py").read_text(encoding="utf-8")  # To import it takes long.
    assert all(f'"{word}"' in command for word in words if word.startswith("--"))
    assert export_arguments(serve.parse_options(["hf-hub:a/b"])) == []


def test_an_option_of_the_export_without_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It would change nothing, and its giver would think otherwise."""
    with pytest.raises(SystemExit):
        serve.parse_options(["--dtype", "bfloat16"])
    assert "--dtype says how a SOURCE is exported" in capsys.readouterr().err


def test_help_shows_a_newcomer_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    """Serve, serve a model of the hub, call it."""
    with pytest.raises(SystemExit) as ended:
        serve.parse_options(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for line in ("scripts/serve  ", "scripts/serve hf-hub:", "curl -H"):
        assert f"\n    {line}" in shown


def test_the_gateway_finds_the_engine_and_the_model(tmp_path: Path) -> None:
    """Its settings are those of the start, of its file, and of its environment, in this order."""
    words = ["--run-dir", str(tmp_path), "--ports", "auto", "--gateway-workers", "2", "--gateway-host", "::1"]
    given = {f"{PREFIX}MAX_ITEMS": "7", "HOME": "/root"}
    found = environment(serve.parse_options(words), ENGINE, "org/name", given)
    settings = read(None, found)
    assert (settings.engine, settings.engine_token_file) == (ENGINE["grpc"], ENGINE["token_file"])
    assert (settings.port, settings.grpc_port, settings.metrics_port) == (0, 0, 0)
    assert (settings.workers, settings.host, settings.max_items) == (2, "::1", 7)
    assert settings.models == {"org/name": ModelSettings()}
    assert settings.keys_file == str(tmp_path / "gateway" / "keys.json")
    assert found["HOME"] == "/root"


def test_the_gateways_own_file_names_models_and_keys(tmp_path: Path) -> None:
    """Who has settled these is not overruled, but for the engine, which was just started."""
    file = tmp_path / "gateway.toml"
    file.write_text('port = 9000\nkeys_file = "mine.json"\nengine = "grpc://other:1"\n[models.mine]\n')
    options = serve.parse_options(["--gateway-config", str(file)])
    settings = read(file, environment(options, ENGINE, "mini", {}))
    assert (settings.port, settings.keys_file, settings.engine) == (9000, "mine.json", ENGINE["grpc"])
    assert list(settings.models) == ["mine"]
    options = serve.parse_options(["--gateway-config", str(file), "--model-name", "other"])
    assert list(read(file, environment(options, ENGINE, "other", {})).models) == ["other"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The gateway's settings are read before anything waits for them."""
    for content, says in ((None, "cannot read"), ("port = ", "is no TOML")):
        file = tmp_path / "gateway.toml"
        if content is not None:
            file.write_text(content)
        options = serve.parse_options(["--gateway-config", str(file)])
        with pytest.raises(LaunchError, match=says):
            environment(options, ENGINE, "mini", {})


def test_what_keeps_the_gateway_from_starting_is_said_before_anything_starts(tmp_path: Path) -> None:
    """TorchServe takes long to start, and a typing error is to be known at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, says in (
            (["--gateway-metrics-port", port], f"the gateway's metrics cannot listen on 127.0.0.1:{port}"),
            (["--gateway-port", "70000"], "the gateway: port must be from 0 to 65535"),
            (["--model-name", "a b"], "the gateway: 'a b' cannot be a model's name"),
        ):
            options = serve.parse_options([*words, "--ports", "auto"])
            found = environment(options, ENGINE, options.model_name or "mini", {})
            with pytest.raises(LaunchError) as caught:
                check(None, found)
            assert says in str(caught.value)
    check(None, environment(serve.parse_options(["--ports", "auto"]), ENGINE, "mini", {}))


@pytest.mark.parametrize(
    ("source", "found", "name"),
    [
        (None, "mini", "mini"),
        ("hf-hub:google/siglip2@main", "google--siglip2", "google/siglip2"),
        ("folder", "Mein Modell, groß", "Mein-Modell-gro-"),
        ("folder", "…", "clip"),
    ],
)
def test_callers_name_a_model_as_it_is_known(source: str | None, found: str, name: str) -> None:
    """A name of the hub stays one; another becomes one that the gateway takes."""
    assert model_name(source, found) == name
    assert list(read(None, {f"{PREFIX}MODELS": model_name(source, found)}).models) == [name]


def test_each_model_and_each_form_of_it_has_a_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To serve another one and come back exports nothing twice."""
    monkeypatch.chdir(tmp_path)
    stores = [
        store_of("hf-hub:a/b", []),
        store_of("hf-hub:a/b@v2", []),
        store_of("hf-hub:a/b", ["--dtype", "int8"]),
        store_of("a/b", []),
        store_of("/", []),
    ]
    assert len(set(stores)) == len(stores)
    assert store_of(str(tmp_path / "a" / "b"), []) == store_of("a/b", [])
    assert len({store.parent for store in stores}) == 1


def test_the_gateway_is_told_where_the_engines_metrics_are(tmp_path: Path) -> None:
    """One port of metrics then gives all of them, on the address that the operator opens."""
    words = ["--run-dir", str(tmp_path), "--ports", "auto"]
    engine = {**ENGINE, "metrics": "http://127.0.0.1:8082/metrics", "queue_metrics": None}
    given = {f"{PREFIX}METRICS_HOST": "0.0.0.0"}
    settings = read(None, environment(serve.parse_options(words), engine, "mini", given))
    assert settings.engine_metrics == engine["metrics"]
    assert settings.queue_metrics == ""
    assert settings.metrics_host == "0.0.0.0"
    engine["queue_metrics"] = "http://127.0.0.1:8083/metrics"
    settings = read(None, environment(serve.parse_options(words), engine, "mini", given))
    assert settings.queue_metrics == engine["queue_metrics"]


def test_ray_serve_gets_its_options_as_they_were_given() -> None:
    """What is said to scripts/serve is what the launcher of Ray reads."""
    words = ["--store", "s", "--run-dir", "r", "--address", "auto", "--application", "a", "--replicas", "2"]
    words += [
        "--max-replicas",
        "4",
        "--replica-cpus",
        "1.5",
        "--replica-gpus",
        "0.5",
        "--replica-hpus",
        "0.0",
    ]
    command = ray_engine.command(serve.parse_options(["--engine", "ray", *words]))
    assert command[1:4] == ["-P", "-m", "babelclip.ray_serve"]
    assert vars(launcher.parse_options(command[4:])) == vars(launcher.parse_options(words))


def test_options_of_the_other_engine_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """They would change nothing, and their giver would think otherwise."""
    for words, says in (
        (["--address", "auto"], "are for --engine ray"),
        (["--replicas", "2"], "are for --engine ray"),
        (["--engine", "ray", "--workers", "2"], "say --replicas"),
    ):
        with pytest.raises(SystemExit):
            serve.parse_options(words)
        assert says in capsys.readouterr().err


def test_the_gateway_joins_the_cluster_with_its_token(tmp_path: Path) -> None:
    """Its engine is the cluster, its environment has the token's file, and it has no keys of TorchServe."""
    facts = {
        "engine": "ray:127.0.0.1:6379#babelclip",
        "token_file": "/run/ray_token",
        "metrics": "http://a/m",
    }
    joining = ray_engine.joining(facts, {})
    assert joining["RAY_AUTH_MODE"] == "token"
    assert joining["RAY_AUTH_TOKEN_PATH"] == "/run/ray_token"
    options = serve.parse_options(["--engine", "ray", "--run-dir", str(tmp_path)])
    settings = read(None, environment(options, ray_engine.as_engine(facts), "mini", {}))
    assert (settings.engine, settings.engine_token_file) == (facts["engine"], "")
    assert settings.engine_metrics == "http://a/m"
    assert "RAY_AUTH_MODE" not in ray_engine.joining({**facts, "token_file": None}, {})
