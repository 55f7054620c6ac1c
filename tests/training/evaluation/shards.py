"""Writing shards of a WebDataset, and the drawings of this repository that go into them."""

import io
import tarfile
from pathlib import Path

from PIL import Image

from handlers.preprocess.reference import upright_rgb

COUNT = 60
LANGUAGES = ("de", "ja")

Member = tuple[str, bytes]
Drawing = tuple[bytes, dict[str, str]]  # an encoded image, and its name in each language


def write_shards(
    folder: Path, samples: list[list[Member]], *, split: str = "test", per_shard: int = 25
) -> Path:
    """The samples in shards, with nshards.txt; the folder."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    shards = [samples[start : start + per_shard] for start in range(0, len(samples), per_shard)]
    for number, shard in enumerate(shards):
        with tarfile.open(folder / split / f"{number}.tar", "w") as tar:
            for name, data in (member for sample in shard for member in sample):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    (folder / split / "nshards.txt").write_text(f"{len(shards)}\n", encoding="utf-8")
    return folder


def opaque(path: Path) -> bytes:
    """A drawing over white: CLIP_benchmark drops the alpha channel, which ours puts over white."""
    out = io.BytesIO()
    with Image.open(path) as image:
        upright_rgb(image).save(out, "PNG")
    return out.getvalue()
