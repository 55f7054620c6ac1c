"""The parity report of an export: what the gate measured, for programs as JSON and for people as Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import decoding, parity
from export.options import Options
from models.checkpoint import Checkpoint


def document(
    loaded: Checkpoint,
    options: Options,
    reports: Sequence[parity.Report],
    shortcut: decoding.Report,
    vocabulary: dict[str, int],
) -> dict[str, Any]:
    """All that is known of an export; `vocabulary` has the tokens before and after a trim."""
    return {
        "checkpoint": loaded.meta["name"],
        "source": loaded.meta.get("source", "checkpoint"),
        "license": loaded.meta.get("license", ""),
        "space": loaded.meta["space"],
        "dim": loaded.meta["dim"],
        "options": options.to_json(),
        "vocabulary": vocabulary,
        "decoding": shortcut.to_json(),
        "reports": [report.to_json() for report in reports],
    }


def markdown(found: dict[str, Any]) -> str:
    """The document as a page."""
    options, vocabulary, decoded = found["options"], found["vocabulary"], found["decoding"]
    lines = [
        f"# Parity of {found['checkpoint']}",
        "",
        f"Space `{found['space']}`, {found['dim']} numbers a vector, from {found['source']}; weights stored "
        f"as {options['dtype']}. Every program embedded golden inputs in padded batches, and is compared "
        "with what the model's own modules make of each of them alone, in float32.",
        "",
        "| program | weights | inputs | min cosine | worst input | mean cosine | ten nearest that stay |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    lines += [
        f"| {r['program']} | {r['dtype']} | {r['inputs']} | {r['min_cosine']:.6f} | {r['worst_input']} "
        f"| {r['mean_cosine']:.6f} | {r['top_agreement']:.3f} |"
        for r in found["reports"]
    ]
    lines.append("")
    if vocabulary:
        lines += [
            f"The vocabulary holds {vocabulary['kept']:,} of {vocabulary['all']:,} tokens, those that "
            f"{', '.join(options['languages'])} need. Texts in these were compared.",
            "",
        ]
    scale = f"to at least {decoded['reduction']:g} × the input size" if decoded["reduction"] else "in full"
    lines.append(
        f"JPEGs are decoded {scale}: min cosine {decoded['min_cosine']:.6f}, "
        f"mean {decoded['mean_cosine']:.6f} over {decoded['images']} images."
    )
    return "\n".join(lines) + "\n"


def write(folder: Path, found: dict[str, Any]) -> None:
    """parity.json and parity.md."""
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (folder / "parity.json").write_text(text, encoding="utf-8")
    (folder / "parity.md").write_text(markdown(found), encoding="utf-8")
