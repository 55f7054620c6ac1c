"""The table of the chart's values in docs/kubernetes.md, from its schema: python -m deploy.helm.values_table

Rewrites what stands there between the two marks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = Path(__file__).parent / "babelclip"
GUIDE = REPOSITORY / "docs" / "kubernetes.md"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
_LONGEST = 60  # characters of a default that the table shows

Node = dict[str, Any]


def table() -> str:
    """The table, in Markdown."""
    schema: Node = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults: Node = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | {_shown(name, defaults)} | {described} |"
        for name, described in _values(schema, schema["definitions"], "")
        if name != "global"
    ]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows, ""])


def _values(node: Node, definitions: Node, above: str) -> Iterator[tuple[str, str]]:
    """The values below a node of the schema, each with its path and its description."""
    for name, given in node.get("properties", {}).items():
        path = f"{above}{name}"
        known = definitions[given["$ref"].rpartition("/")[2]] if "$ref" in given else given
        described = given.get("description", known.get("description", ""))
        if "properties" in known and path != "gateway.settings" and not path.startswith("probes."):
            below = [
                (each, f"{described} {said}".strip())
                for each, said in _values(known, definitions, f"{path}.")
            ]
            yield from below
        else:
            yield path, described.replace("|", "\\|")


def _shown(path: str, defaults: Node) -> str:
    """A default as it is written, or how much of it there is."""
    value: Any = defaults
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    written = json.dumps(value, ensure_ascii=False)
    return f"`{written}`" if len(written) <= _LONGEST else "see `values.yaml`"


def main() -> None:
    """Put the table where it belongs."""
    guide = GUIDE.read_text(encoding="utf-8")
    before, _, rest = guide.partition(BEGIN)
    _, _, after = rest.partition(END)
    GUIDE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
