"""A few hundred held-out drawings with their names, for the demonstration and the tests.

    python -m training.recipes.mini.samples data/emoji training/recipes/mini/samples

copies the Twemoji drawings of every emoji that all families of a general kind draw, thinned to `COUNT`, and
their names in every locale. No model of this repository was trained on a Twemoji drawing.
"""

import argparse
import json
import shutil
from pathlib import Path

from models import outputs
from training.recipes.mini import data
from training.recipes.mini.dataset import DRAWINGS, HELD_OUT_FAMILY, code_points, ensure

COUNT = 300
COMMON = {"noto", "noto-v1", "fluent-emoji-flat", "emojione", "openmoji"}
# What the demonstration asks for is always among them.
WANTED = "🏫🐕🐶☕🐈🍎🌹🌙🐘🚲🍕🎸🌧🔑🐟🍌🦁⛄🚀🐎🌵🍓🎂🚑📚☂🐝"


def chosen(root: Path) -> list[dict[str, object]]:
    """Rows of concepts.json: all that are wanted, and evenly spaced ones of the others."""
    rows = json.loads((root / "concepts.json").read_text(encoding="utf-8"))
    common = [row for row in rows if set(row["families"]) >= COMMON]
    wanted = [row for row in rows if row["emoji"] in WANTED]
    others = [row for row in common if row not in wanted]
    step = len(others) / (COUNT - len(wanted))
    thinned = [others[int(i * step)] for i in range(COUNT - len(wanted))]
    kept = {row["emoji"] for row in (*wanted, *thinned)}
    return [row for row in rows if row["emoji"] in kept]


def build(root: Path, target: Path) -> None:
    """Write target/<code points>.png and target/captions.json, replacing what is there."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    rows = chosen(root)
    for row in rows:
        name = f"{code_points(str(row['emoji']))}.png"
        shutil.copy(root / "drawings" / HELD_OUT_FAMILY / name, target / name)
    captions = {locale: data.read_locale(root, locale) for locale in data.locales_of(root)}
    names = {
        locale: {str(row["emoji"]): table[str(row["emoji"])]["name"] for row in rows if row["emoji"] in table}
        for locale, table in captions.items()
    }
    document = {"emoji": [row["emoji"] for row in rows], "names": names}
    (target / "captions.json").write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    credit, licence = DRAWINGS[HELD_OUT_FAMILY].credit, DRAWINGS[HELD_OUT_FAMILY].licence
    text = f"The drawings are by {credit}, {licence}.\nThe names are from Unicode CLDR, Unicode-3.0.\n"
    (target / "LICENSES.md").write_text(text, encoding="utf-8")
    print(f"{target}: {len(rows)} drawings, names in {len(names)} locales")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    outputs.check("training.recipes.mini.samples", "TARGET", options.target)
    build(ensure(options.data), options.target)


if __name__ == "__main__":
    main()
