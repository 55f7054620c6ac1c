"""The gateway's settings: where they come from, and what is said of wrong ones."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import ModelSettings, Settings, SettingsError, read


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    """An operator changes one entry of a mounted file without another file."""
    file = tmp_path / "gateway.toml"
    file.write_text(
        'port = 9000\ntimeout = 5\ncors_origins = ["https://a.example"]\n[models.mini]\ntext = "t"\n'
        'license = "MIT"\nlanguages = ["de"]\n'
    )
    settings = read(file, {"BABELCLIP_GATEWAY_PORT": "9001", "BABELCLIP_GATEWAY_AUTHENTICATION": "False"})
    assert (settings.port, settings.grpc_port, settings.timeout) == (9001, 8001, 5.0)
    assert settings.authentication is False
    assert settings.cors_origins == ("https://a.example",)
    assert settings.models == {"mini": ModelSettings("t", "vision", "MIT", ("de",))}
    listed = read(None, {"BABELCLIP_GATEWAY_CORS_ORIGINS": "https://a.example, https://b.example"})
    assert listed.cors_origins == ("https://a.example", "https://b.example")
    named = read(file, {"BABELCLIP_GATEWAY_MODELS": "org/first, second"})
    assert named.models == {"org/first": ModelSettings(), "second": ModelSettings()}
    assert next(iter(named.models)) == "org/first"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "there is no setting prot; did you mean port?"),
        ('port = "8000"', "port must be a whole number, not '8000'"),
        ("port = true", "port must be a whole number, not True"),
        ("port = 70000", "port must be from 0 to 65535"),
        ("timeout = nan", "timeout must be more than 0"),
        ("workers = 0", "workers must be more than 0"),
        ("max_items = 0", "max_items must be more than 0"),
        ('cors_origins = "*"', "must be a list of strings"),
        ("port = ", "is no TOML"),
        ("models = 3", "models must be tables"),
        ("[models]", "at least one model"),
        ("[models.a]\naudio = 'x'", "[models.a] has text, vision, license, languages, and no audio"),
        ("[models.a]\ntext = 3", "[models.a]: text must be a string, not 3"),
        ("[models.a]\nlanguages = 'de'", "[models.a]: languages must be a list of strings"),
        ("[models]\na = 3", "such as [models.a]"),
        ("[models.'a b']", "cannot be a model's name"),
        ('tls_key = "key.pem"', "TLS needs both"),
        ('host = "0.0.0.0"\nauthentication = false', "lets everybody in who reaches 0.0.0.0"),
    ],
)
def test_a_wrong_file_is_explained(text: str, says: str, tmp_path: Path) -> None:
    """Whoever mistypes an entry learns which one, and what is allowed."""
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read(file, {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PORT", "http", "BABELCLIP_GATEWAY_PORT must be a whole number, not 'http'"),
        ("AUTHENTICATION", "no", "must be true or false"),
        ("MODELS", "two words", "cannot be a model's name"),
        ("MODELS", ",", "at least one model"),
        ("PROT", "1", "did you mean port?, which BABELCLIP_GATEWAY_PROT sets"),
    ],
)
def test_a_wrong_variable_is_explained(variable: str, value: str, says: str) -> None:
    """The same of the environment."""
    with pytest.raises(SettingsError) as caught:
        read(None, {f"BABELCLIP_GATEWAY_{variable}": value})
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No defaults stand in for a file that was asked for."""
    with pytest.raises(SettingsError, match=r"cannot read .*none\.toml"):
        read(tmp_path / "none.toml", {})


@given(data=st.binary(max_size=200))
def test_no_file_breaks_the_reader(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever stands in the file, it becomes settings or a SettingsError."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    with contextlib.suppress(SettingsError):
        assert isinstance(read(file, {}), Settings)
