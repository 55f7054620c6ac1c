"""Models by their names on Hugging Face's hub: `hf-hub:ORGANISATION/NAME`, or `…@REVISION`.

The files are fetched through huggingface_hub into its cache, and are then a local folder like any other. Only
what a source reads is fetched: settings, and weights in one form, as safetensors where there are any. What
lies in the cache is used without the hub: at once with HF_HUB_OFFLINE=1, else where the hub does not answer.
"""

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models import outputs
from models.files import tokenizers
from models.files.weights import CheckpointError, first_line
from models.loaders import (
    backbones,
    concept_memory,
    huggingface,
    open_clip,
    pairs,
    projection_heads,
    sentence_transformers,
)

PREFIX = "hf-hub:"
ENDPOINT, CACHE = constants.ENDPOINT, Path(constants.HF_HUB_CACHE)
PATIENCE = 10.0  # seconds for the hub's first answer; there is one try
# What projection heads were trained on, by the names in their folder.
BASES = {
    backbones.VISION_MODEL: "timm/resnet50x4_clip.openai",
    backbones.TEXT_MODEL: "FacebookAI/xlm-roberta-base",
}
SETTINGS = ["*.json", *(name for name in tokenizers.OLDER if not name.endswith(".json"))]
# In the order of preference; timm keeps its own form of a model beside open_clip's.
OPEN_CLIP = [["open_clip_model.safetensors"], ["open_clip_pytorch_model.bin"]]
TRANSFORMERS = [
    ["model.safetensors"],
    ["model-*.safetensors"],
    ["pytorch_model.bin"],
    ["pytorch_model-*.bin"],
]
WEIGHTS = [
    ["text.safetensors", "vision.safetensors"],  # a checkpoint of this project
    *TRANSFORMERS,
    ["*.ckpt", concept_memory.FILE],
    ["*.ckpt"],
    ["*.safetensors"],
    ["*.pt"],
    ["*.bin"],
]


def fetch(name: str, *, alone: bool = False) -> Path:
    """`hf-hub:…` → a local folder with the model's files.

    Projection heads come with the two models they were trained on, each in a folder of its own; text towers
    of `models.loaders.pairs` with the CLIP that they go with, unless they are wanted `alone`.

    Raises:
        CheckpointError: the hub has no such model, or cannot be reached and the cache has none either.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    offline = constants.is_offline_mode()
    fetched, offline = _snapshot(repository, revision or None, offline)
    parts = {path.name: path for path in fetched.iterdir()}
    if repository in pairs.CLIPS and not alone:
        clip, _ = _snapshot(pairs.CLIPS[repository], None, offline)
        parts = {pairs.TEXT: fetched, pairs.VISION: clip}
    elif projection_heads.is_projection_heads(fetched):
        for base in projection_heads.models_of(fetched).values():
            if base in BASES:  # Others come from installed packages.
                parts[base], offline = _snapshot(BASES[base], None, offline)
    # In the hub's cache a folder is called by its commit; an archive is to be called by its model.
    named = Path(fetched.name, repository.replace("/", "--"))
    try:
        return _linked(CACHE / "babelclip" / named, parts)
    except OSError:  # A cache that is only to be read.
        scratch = Path(tempfile.mkdtemp(prefix="babelclip-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        return _linked(scratch / named, parts)


def _snapshot(repository: str, revision: str | None, offline: bool) -> tuple[Path, bool]:
    """The folder in the hub's cache, and whether the hub is still not to be asked."""
    place = f"{PREFIX}{repository}{f'@{revision}' if revision else ''}"
    reason = (
        "HF_HUB_OFFLINE forbids to fetch it" if constants.is_offline_mode() else "the hub does not answer"
    )
    try:
        if not offline:
            try:
                info = HfApi(ENDPOINT).model_info(repository, revision=revision, timeout=PATIENCE)
            except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
                raise
            except Exception as error:  # The network's and the hub's own, of many kinds.
                offline, reason = True, f"the hub cannot be reached: {first_line(error)}"
                print(f"{place}: {reason}; looking into the cache", file=sys.stderr)
            else:
                return _download(repository, revision, [one.rfilename for one in info.siblings or []]), False
        # No file is asked for: what is missing of a model is told when it is loaded.
        found = snapshot_download(
            repository, revision=revision, cache_dir=CACHE, local_files_only=True, allow_patterns=[]
        )
        return Path(found), offline
    except LocalEntryNotFoundError as error:
        raise CheckpointError(f"{place} is not in the cache {CACHE}, and {reason}") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{place} cannot be fetched: the hub has no such model, or none that it shows without a token "
            "that may see it (`hf auth login`, or HF_TOKEN)"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # The hub, the network and the file system each have their own.
        raise CheckpointError(f"{place} cannot be fetched: {first_line(error)}") from error


def _download(repository: str, revision: str | None, files: list[str]) -> Path:
    """Settings first: they say which of several forms of the weights is the model's."""

    def get(patterns: list[str]) -> Path:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=patterns, cache_dir=CACHE, endpoint=ENDPOINT
        )
        return Path(found)

    def has(pattern: str) -> bool:
        return any(fnmatch(file, pattern) for file in files)

    def first(wanted: list[list[str]]) -> list[str]:
        return next((patterns for patterns in wanted if all(map(has, patterns))), [])

    settings = [pattern for pattern in SETTINGS if has(pattern)]
    wanted = [*OPEN_CLIP, *WEIGHTS]
    if settings:
        folder = get(settings)
        if sentence_transformers.is_sentence_transformers(folder):
            listed = sentence_transformers.parts(folder)
            places = sorted({path.relative_to(folder).as_posix() for _, path in listed})
            return get([*settings, *chain.from_iterable(first(_inside(place)) for place in places)])
        own = open_clip.is_described(folder) and bool(first(OPEN_CLIP))
        if huggingface.is_described(folder) and first(TRANSFORMERS):
            if not own or open_clip.has_own_text(open_clip.read_config(folder)[1]):
                wanted = TRANSFORMERS
        elif huggingface.takes(folder) and not own:
            wanted = WEIGHTS
    return get([*settings, *first(wanted)])


def _inside(place: str) -> list[list[str]]:
    """What weights are looked for in a folder of a repository."""
    return [[f"{place}/{name}".removeprefix("./") for name in names] for names in TRANSFORMERS]


def _linked(folder: Path, parts: Mapping[str, Path]) -> Path:
    """The folder, with a link to each part; several processes may make it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in parts.items():
        with outputs.replacing(folder / name, shared=True) as partial:
            partial.symlink_to(target)
    return folder
