"""gzomer's Multilingual CLIP by its own names: in programs that use it only the import changes.

    from babelclip.compat.multilingual_clip import MultiLingualSearch, create_and_load_from_hub

    model = create_and_load_from_hub()
    search = MultiLingualSearch(model, np.load("embeddings.npy"), images_data)
    search.search("विद्यालय में")

or, with heads of your own training,

    model = MultiLingualCLIP(num_layers=3)
    load_model(model, "vision-last.ckpt", "text-last.ckpt")

The model is a `babelclip.Client` whose towers run in this process, from archives. The first use of one
exports it into the cache (BABELCLIP_CACHE, or `~/.cache/babelclip`), which takes minutes; later ones open
what is there. To run archives takes the extra `inprocess`; to export, a checkout of babelclip's repository
after its `scripts/setup`, in which this package is installed, or which BABELCLIP_REPOSITORY names.

Differences: the encoders are called `embed_texts` and `embed_images`, vectors are numpy's, and the device is
the archives' to choose (BABELCLIP_DEVICE).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from babelclip.client.sync import Client
from babelclip.errors import ModelNotFound
from babelclip.model_store.manifest import MANIFEST
from babelclip.search.collection import generate_embeddings
from babelclip.search.ranking import MultiLingualSearch
from babelclip.transports.base import Call, Transport
from babelclip.transports.url import LOCAL, open_transport

__all__ = [
    "MultiLingualCLIP",
    "MultiLingualSearch",
    "create_and_load_from_hub",
    "create_default_model",
    "generate_embeddings",
    "load_from_hub",
    "load_model",
]

MODEL_REPO = "gzomer/clip-multilingual"
HEADS = ("clip-visual-projection.ckpt", "clip-text-projection.ckpt")
BASES = {"RN50x4": "timm/resnet50x4_clip.openai", "xlm-roberta-base": "FacebookAI/xlm-roberta-base"}
"""The models that the heads were trained on: the name of the folder, and of the repository on the hub."""


class MultiLingualCLIP(Client):
    """A client of archives in this process, which `load_model` or `load_from_hub` names.

    Args:
        num_layers: of each projection head; `load_model` refuses heads with another number.
    """

    def __init__(self, num_layers: int = 3) -> None:
        self.num_layers = num_layers
        self._archives = _Archives()
        super().__init__("", transport=self._archives)

    def __enter__(self) -> MultiLingualCLIP:
        super().__enter__()
        return self


class _Archives:
    """A transport to archives that are named later."""

    def __init__(self) -> None:
        self.opened: Transport | None = None

    def send(self, call: Call) -> bytes:
        if self.opened is None:
            raise ModelNotFound("this model has no weights yet: load_model() or load_from_hub() comes first")
        return self.opened.send(call)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()


def create_default_model() -> MultiLingualCLIP:
    """A model of the published form, without weights."""
    return MultiLingualCLIP()


def create_and_load_from_hub() -> MultiLingualCLIP:
    """The published model.

    Raises:
        ModelNotFound: as in `load_from_hub`.
    """
    model = create_default_model()
    load_from_hub(model)
    return model


def load_from_hub(model: MultiLingualCLIP, device: str = "cpu") -> None:
    """Give the model the published weights, with the models that its heads were trained on.

    Args:
        device: not looked at, see above.

    Raises:
        ModelNotFound: it is not in the cache, and cannot be exported; says why, and what to do.
        ValueError: the model has weights already.
    """
    _open(model, f"hf-hub:{MODEL_REPO}", MODEL_REPO.replace("/", "--"))


def load_model(
    model: MultiLingualCLIP,
    vision_checkpoint_path: str | os.PathLike[str],
    text_checkpoint_path: str | os.PathLike[str],
    device: str = "cpu",
    *,
    bases: str | os.PathLike[str] | None = None,
) -> None:
    """Give the model heads from two files, as `python -m training` and gzomer's program write them.

    Args:
        device: not looked at, see above.
        bases: the folder that holds RN50x4/ and xlm-roberta-base/; default: the folder of the heads.

    Raises:
        ValueError: a file is no head, or one of another number of layers; or the model has weights already.
        ModelNotFound: the models that heads need are not there, or the whole cannot be exported.
        OSError: a file cannot be read.
        ImportError: torch is not installed.
    """
    heads = dict(zip(HEADS, map(Path, (vision_checkpoint_path, text_checkpoint_path)), strict=True))
    digest = hashlib.sha256()
    for path in heads.values():
        layers = _layers(path)
        if layers != model.num_layers:
            raise ValueError(f"{path} has {layers} layers, and the model was made for {model.num_layers}")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    links = {name: path.resolve() for name, path in heads.items()}
    places = [Path(bases)] if bases is not None else [path.parent for path in heads.values()]
    for base, repository in BASES.items():
        found = next((place / base for place in places if (place / base).is_dir()), None)
        if found is None:
            raise ModelNotFound(
                f"the heads need {base}, which they were trained on: there is no folder {places[0] / base};"
                f" `hf download {repository} --local-dir {places[0] / base}` makes it"
            )
        links[base] = found.resolve()
        digest.update(os.fsencode(found.resolve()))
    name = f"multilingual-clip-{digest.hexdigest()[:12]}"
    source = cache_folder() / "sources" / name
    source.mkdir(parents=True, exist_ok=True)
    for link, target in links.items():
        (source / link).unlink(missing_ok=True)
        (source / link).symlink_to(target)
    _open(model, str(source), name)


def cache_folder() -> Path:
    """Where exported models are kept: BABELCLIP_CACHE, or babelclip in the user's cache."""
    if own := os.environ.get("BABELCLIP_CACHE"):
        return Path(own)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "babelclip"


def _open(model: MultiLingualCLIP, source: str, name: str) -> None:
    if model._archives.opened is not None:
        raise ValueError("this model has its weights already: make a new one for others")
    store = cache_folder() / "stores" / name
    if not (store / MANIFEST).is_file():
        _export(source, store)
    model._archives.opened = open_transport(f"{LOCAL}{store}")


def _export(source: str, store: Path) -> None:
    """Run `python -m export` of the repository.

    Raises:
        ModelNotFound: there is no repository, or it does not export this.
    """
    command = [sys.executable, "-m", "export", source, "--store", str(store.absolute())]
    given = os.environ.get("BABELCLIP_REPOSITORY")
    repository = Path(given) if given else Path(__file__).resolve().parents[3]
    if not (repository / "export" / "__main__.py").is_file():
        raise ModelNotFound(
            f"{store} holds no export of {source}. To make it takes a checkout of babelclip's repository"
            " after scripts/setup: set BABELCLIP_REPOSITORY to its folder, or run there"
            f" `python -m export {source} --store {store.absolute()}`"
        )
    store.mkdir(parents=True, exist_ok=True)
    print(f"exporting {source} into {store}, once; this takes minutes", file=sys.stderr)
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        raise ModelNotFound(f"{source} cannot be exported: {reason}")


def _layers(head: Path) -> int:
    """How many layers a head has.

    Raises:
        ValueError: the file is none.
        OSError: it cannot be read.
        ImportError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "to load a model takes the extra `inprocess`: pip install babelclip[inprocess]"
        ) from error
    try:
        state: Any = torch.load(head, map_location="cpu", weights_only=True)
        return sum(key.startswith("linear_layers.") for key in state)
    except OSError:
        raise
    except Exception as error:  # Of many kinds: the archive's, the unpickler's, torch's own.
        raise ValueError(f"{head} is no checkpoint of a projection head: {type(error).__name__}") from error
