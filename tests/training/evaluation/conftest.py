"""Small data sets in CLIP_benchmark's layout, made of this repository's drawings."""

import json
from pathlib import Path

import pytest

from tests.places import SAMPLES
from tests.training.evaluation.shards import COUNT, LANGUAGES, Drawing, Member, opaque, write_shards


@pytest.fixture(scope="session")
def drawings() -> list[Drawing]:
    """Images, and their names in English and LANGUAGES."""
    document = json.loads((SAMPLES / "captions.json").read_text(encoding="utf-8"))
    files = {"-".join(f"{ord(c):x}" for c in emoji if c != "\ufe0f"): emoji for emoji in document["emoji"]}
    found = []
    for stem, emoji in files.items():
        path = SAMPLES / f"{stem}.png"
        names = {code: document["names"][code].get(emoji) for code in ("en", *LANGUAGES)}
        if path.exists() and all(names.values()):
            found.append((opaque(path), names))
    assert len(found) >= COUNT
    return found[:COUNT]


@pytest.fixture(scope="session")
def retrieval_folder(tmp_path_factory: pytest.TempPathFactory, drawings: list[Drawing]) -> Path:
    """COUNT drawings in three shards; every third has a second English caption."""
    samples = []
    for i, (image, names) in enumerate(drawings):
        english = [names["en"], f"a drawing: {names['en']}"][: 2 if i % 3 == 0 else 1]
        sample = [(f"s{i:07}.png", image), (f"s{i:07}.txt", "\n".join(english).encode())]
        sample += [(f"s{i:07}.{code}.txt", names[code].encode()) for code in LANGUAGES]
        samples.append(sample)
    folder = write_shards(tmp_path_factory.mktemp("data") / "drawings", samples)
    (folder / "dataset_type.txt").write_text("retrieval\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def classification_folder(tmp_path_factory: pytest.TempPathFactory, drawings: list[Drawing]) -> Path:
    """Every drawing is a class; every third has a second image."""
    samples: list[list[Member]] = []
    for label, (image, _) in enumerate(drawings):
        for _ in range(2 if label % 3 == 0 else 1):
            number = f"s{len(samples):07}"
            samples.append([(f"{number}.png", image), (f"{number}.cls", str(label).encode())])
    folder = write_shards(tmp_path_factory.mktemp("data") / "classes", samples)
    for code, name in (("en", "classnames.txt"), *((code, f"classnames.{code}.txt") for code in LANGUAGES)):
        text = "\n".join(names[code] for _, names in drawings)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    templates = folder / "zeroshot_classification_templates.txt"
    templates.write_text("a drawing of a {c}.\n{c}\n", encoding="utf-8")
    return folder
