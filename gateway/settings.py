"""What an operator decides: a TOML file, and the environment above it.

    host = "127.0.0.1"
    port = 8000
    engine = "grpc://127.0.0.1:7070"

    [models.mini]          # the name callers use; text and vision are the engine's names of the towers
    text = "text"
    vision = "vision"

Every entry may come from the environment, which wins: `port` from BABELCLIP_GATEWAY_PORT. A list stands there
with commas between, and so do the names of models whose towers are `text` and `vision`. docs/gateway.md has
the table of all entries.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babelclip.fetching import Hosts

PREFIX = "BABELCLIP_GATEWAY_"
LOOPBACK = "127.0.0.1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}", re.ASCII)
_KINDS = {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}


class SettingsError(ValueError):
    """A setting is wrong; the message names it, where it stands, and what is allowed."""


@dataclass(frozen=True)
class ModelSettings:
    """A model under the name callers use.

    Attributes:
        text, vision: what the engine calls its two towers.
        license: what callers are told of it, such as an SPDX name; "" for nothing.
        languages: those of the text tower, as callers are told, by BCP 47; none for nothing.
    """

    text: str = "text"
    vision: str = "vision"
    license: str = ""
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All entries with their defaults.

    Attributes:
        host: the address of the HTTP and gRPC ports.
        port, grpc_port, metrics_port: 0 takes a free one.
        metrics_host: the address of the port of metrics, whatever `host` is. Whoever reaches it reads them
            without a key.
        engine_metrics, queue_metrics: addresses at which the metrics of the engine and of its queues are read
            for who asks for them at the port of metrics; "" for none.
        tls_certificate, tls_key: files in PEM with which HTTP and gRPC speak TLS; both, or neither for none.
        keys_file: the callers' keys, hashed; made with one key in it where there is none.
        authentication: false lets every caller in, which only a loopback `host` may.
        cors_origins: the origins whose pages may call from a browser, or "*"; none by default.
        allowed_hosts: names by which a gateway without keys may be called, beside this machine's own.
        engine: where the towers are computed: grpc://HOST:PORT or http://HOST:PORT.
        engine_token_file: TorchServe's key_file.json, or a file with the bare token; with "" the client's
            own variables tell (BABELCLIP_TOKEN, BABELCLIP_TOKEN_FILE), or none is sent.
        timeout: seconds until an answer must be there, unless the caller names fewer.
        workers: processes, which share the ports.
        probe_seconds: how often the engine is asked for its default version and its golden items.
        items_at_tower: items that a tower is given at a time, fewer where it is slow; the others wait in the
            gateway, for fair turns.
        max_wait: seconds for which a request may wait for its turn in any case; with 0 no longer than until a
            tower has done with one and three quarters of `items_at_tower`.
        max_items: inputs of a request.
        max_body_bytes: bytes of a request.
        max_bodies_bytes: bytes of all requests over HTTP that a process has at a time; a key has half of it.
        body_timeout: seconds in which a body must have arrived.
        grpc_connection_seconds: after which a client over gRPC is asked to connect anew, so that replicas
            that came later get their share of it; 0 never asks.
        calibrations: files of `babelclip.calibrate` or `babelclip calibrate`, of one embedding space each.
        versions_file: which version each model's name means, the same for every replica; with "", or while
            there is no such file, a name means the engine's default version.
        cache_mb: megabytes of memory for vectors of items that come again; 0 keeps none.
        log_requests: a line of JSON for each request, on standard error.
        compress_from_bytes: answers of so many bytes are compressed for who accepts it; 0 for none.
        image_url_hosts: the hosts from which images are fetched by their address; none by default.
        image_url_timeout: seconds in which such an image must have come.
        max_image_url_bytes: bytes of such an image.
        max_image_urls: such addresses in a request.
        collections: the folder of the collections that callers make; "" for none.
        collections_index: where their indexes are kept, such as s3://BUCKET/PATH or milvus://HOST:19530;
            with "" in that folder.
        content_roots: folders whose images and films are given back where an item names one as its source.
        models: by the names callers use; the first is the default.
    """

    host: str = LOOPBACK
    port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    metrics_host: str = LOOPBACK
    engine_metrics: str = ""
    queue_metrics: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    keys_file: str = ".run/gateway/keys.json"
    authentication: bool = True
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    engine: str = "grpc://127.0.0.1:7070"
    engine_token_file: str = ".run/key_file.json"
    timeout: float = 30.0
    workers: int = 1
    probe_seconds: float = 10.0
    items_at_tower: int = 64
    max_wait: float = 0.0
    max_items: int = 2048
    max_body_bytes: int = 64 * 1024 * 1024
    max_bodies_bytes: int = 1024 * 1024 * 1024
    body_timeout: float = 60.0
    grpc_connection_seconds: float = 1800.0
    calibrations: tuple[str, ...] = ()
    versions_file: str = ".run/gateway/versions.json"
    cache_mb: int = 0
    log_requests: bool = True
    compress_from_bytes: int = 1024 * 1024
    image_url_hosts: tuple[str, ...] = ()
    image_url_timeout: float = 10.0
    max_image_url_bytes: int = 20_000_000
    max_image_urls: int = 32
    collections: str = ""
    collections_index: str = ""
    content_roots: tuple[str, ...] = ()
    models: Mapping[str, ModelSettings] = field(default_factory=lambda: {"clip": ModelSettings()})

    def __post_init__(self) -> None:
        for name in ("port", "grpc_port", "metrics_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingsError(f"{name} must be from 0 to 65535, not {getattr(self, name)}")
        for name in (
            "timeout",
            "workers",
            "probe_seconds",
            "items_at_tower",
            "max_items",
            "max_body_bytes",
            "body_timeout",
        ):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} must be more than 0, not {getattr(self, name)}")
        if self.max_bodies_bytes < 2 * self.max_body_bytes:
            raise SettingsError(
                f"max_bodies_bytes must be at least twice max_body_bytes, not {self.max_bodies_bytes:,}: a"
                " key has half of it, and must have room for one body"
            )
        if not 0 <= self.max_wait < math.inf:
            raise SettingsError(f"max_wait must be 0 or more seconds, not {self.max_wait}")
        if not 0 <= self.grpc_connection_seconds < math.inf:
            raise SettingsError(
                f"grpc_connection_seconds must be 0 or more, not {self.grpc_connection_seconds}"
            )
        if self.cache_mb < 0:
            raise SettingsError(f"cache_mb must be 0 or more, not {self.cache_mb}")
        if self.compress_from_bytes < 0:
            raise SettingsError(f"compress_from_bytes must be 0 or more, not {self.compress_from_bytes}")
        for name in ("image_url_timeout", "max_image_url_bytes", "max_image_urls"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} must be more than 0, not {getattr(self, name)}")
        try:
            Hosts(self.image_url_hosts)
        except ValueError as error:
            raise SettingsError(f"image_url_hosts: {error}") from error
        if self.collections_index and not self.collections:
            raise SettingsError(
                "collections_index needs collections, the folder of what else is kept of them"
            )
        for name in ("engine_metrics", "queue_metrics"):
            if (given := getattr(self, name)) and not given.startswith(("http://", "https://")):
                raise SettingsError(
                    f"{name} must be an address such as http://127.0.0.1:8082/metrics, not {given!r}"
                )
        for name in self.content_roots:
            if not Path(name).is_absolute():
                raise SettingsError(
                    f"content_roots holds {name!r}; an entry is the absolute path of a folder"
                )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingsError("tls_certificate and tls_key stand together: TLS needs both")
        if not self.models:
            raise SettingsError("[models] must name at least one model")
        for name in self.models:
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f"{name!r} cannot be a model's name: up to 100 letters, digits and . _ - /, beginning"
                    " with a letter or digit"
                )
        if not self.authentication and not is_loopback(self.host):
            raise SettingsError(
                f"authentication = false lets everybody in who reaches {self.host}; it is allowed on a"
                ' loopback address alone, such as host = "127.0.0.1"'
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read(path: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Settings:
    """The settings of a file (None for none) with those of the environment above them.

    Raises:
        SettingsError: the file cannot be read or is no TOML, or an entry is unknown or has a wrong value.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _entries(_table(Path(path)), str(path))
    for name in _KIND:
        variable = PREFIX + name.upper()
        if variable in environment:
            values[name] = _from_text(name, environment[variable], variable)
    unknown = [
        key for key in environment if key.startswith(PREFIX) and key[len(PREFIX) :].lower() not in _KIND
    ]
    if unknown:
        raise SettingsError(f"{_unknown(unknown[0][len(PREFIX) :].lower())}, which {unknown[0]} sets")
    return Settings(**values)


# The kind of each entry by its name: str, int, float, bool, tuple[str, ...], or the models.
_KIND = {entry.name: str(entry.type) for entry in dataclasses.fields(Settings)}
_KIND_OF_MODEL = {entry.name: str(entry.type) for entry in dataclasses.fields(ModelSettings)}


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None


def _entries(table: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name not in _KIND:
            raise SettingsError(f"{where}: {_unknown(name)}")
        found[name] = _models(value, where) if name == "models" else _checked(name, value, where, _KIND[name])
    return found


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _KIND, n=1)
    meant = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(_KIND)}"
    return f"there is no setting {name}{meant}"


def _models(value: Any, where: str) -> dict[str, ModelSettings]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: models must be tables, such as [models.mini]")
    found = {}
    for name, entries in value.items():
        if not isinstance(entries, dict):
            raise SettingsError(f"{where}: models must be tables, such as [models.{name}]")
        here = f"{where}: [models.{name}]"
        if extra := set(entries) - set(_KIND_OF_MODEL):
            raise SettingsError(f"{here} has {', '.join(_KIND_OF_MODEL)}, and no {min(extra)}")
        checked = {
            entry: _checked(entry, value, here, _KIND_OF_MODEL[entry]) for entry, value in entries.items()
        }
        found[name] = ModelSettings(**checked)
    return found


def _checked(name: str, value: Any, where: str, kind: str) -> Any:
    if kind == "tuple[str, ...]":
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise SettingsError(f"{where}: {name} must be a list of strings, not {value!r}")
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__ != kind:
        raise SettingsError(f"{where}: {name} must be {_KINDS[kind]}, not {value!r}")
    return value


def _from_text(name: str, text: str, variable: str) -> Any:
    kind = _KIND[name]
    if name == "models":
        return {part.strip(): ModelSettings() for part in text.split(",") if part.strip()}
    if kind == "str":
        return text
    if kind == "tuple[str, ...]":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return int(text) if kind == "int" else float(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{variable} must be {_KINDS[kind]}, not {text!r}") from None
