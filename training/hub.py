"""Models by their names on Hugging Face's hub: `hf-hub:ORGANISATION/NAME`, or `…@REVISION`.

The files are fetched through huggingface_hub into its cache, and are then a local folder like any other. Only
what a source reads is fetched: JSON, and weights in one form, as safetensors where there are any.
"""

from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download

from training import projection_heads
from training.checkpoint import CheckpointError
from training.source_files import first_line

PREFIX = "hf-hub:"
ENDPOINT, CACHE = constants.ENDPOINT, Path(constants.HF_HUB_CACHE)
# What projection heads were trained on, by the names in their folder.
BASES = {
    projection_heads.VISION_MODEL: "timm/resnet50x4_clip.openai",
    projection_heads.TEXT_MODEL: "FacebookAI/xlm-roberta-base",
}
# In the order of preference; timm keeps its own form of a model beside open_clip's.
WEIGHTS = (
    "open_clip_model.safetensors",
    "model*.safetensors",
    "open_clip_pytorch_model.bin",
    "*.bin",
    "*.ckpt",
)


def fetch(name: str) -> Path:
    """`hf-hub:…` → a local folder with the model's files.

    Projection heads come with the two models they were trained on, each in a folder of its own.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such model.
    """
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    fetched = _snapshot(repository, revision or None)
    # In the hub's cache a folder is called by its commit; an archive is to be called by its model.
    folder = CACHE / "babelclip" / repository.replace("/", "--")
    folder.mkdir(parents=True, exist_ok=True)
    for link in folder.iterdir():
        link.unlink()
    parts = {path.name: path for path in fetched.iterdir()}
    if projection_heads.is_one(fetched):
        parts |= {base: _snapshot(where, None) for base, where in BASES.items()}
    for part, target in parts.items():
        (folder / part).symlink_to(target)
    return folder


def _snapshot(repository: str, revision: str | None) -> Path:
    try:
        files = HfApi(ENDPOINT).list_repo_files(repository, revision=revision)
        weights = next((p for p in WEIGHTS if any(Path(file).match(p) for file in files)), WEIGHTS[0])
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=["*.json", weights],
            cache_dir=CACHE,
            endpoint=ENDPOINT,
        )
    except Exception as error:  # The hub, the network and the file system each have their own.
        raise CheckpointError(f"{PREFIX}{repository} cannot be fetched: {first_line(error)}") from error
    return Path(found)
