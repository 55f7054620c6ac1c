"""A model repository for Triton Inference Server: strings and encoded images in, vectors out.

For a checkpoint named `mini`, `write` makes these models; each tower is an ensemble of two others:

    mini_text           ensemble      TEXT   TYPE_STRING [N, 1] → VECTOR TYPE_FP32 [N, D]
    mini_text_tokens    python        TEXT → ids, mask TYPE_INT64 [N, L], padded to a length bucket
    mini_text_tower     onnxruntime   ids, mask → vectors, batched across requests
    mini_vision         ensemble      IMAGE  TYPE_STRING [N, 1] → VECTOR TYPE_FP32 [N, D]
    mini_vision_pixels  python        IMAGE → pixels TYPE_UINT8 [N, S, S, 3]
    mini_vision_tower   onnxruntime   pixels → vectors, batched across requests

`triton_models/` holds their config.pbtxt as templates, and the Python models. Each model's `parameters` name
the embedding space, so that a client can tell whose vectors it gets. One bad item fails its own request and
no other: Triton's protocol has a status for each request, none for each item.

What was run: the tests parse every config with Triton's own message definition, run the Python models
against a stand-in for Triton's Python module, and the programs by onnxruntime. The end-to-end tests load the
repository into a Triton 2.51 and embed with it; its ONNX Runtime backend was not at hand, so there a Python
model ran the programs, by the library that this backend is made of.
"""

import importlib.metadata
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

import handlers
from export.archive import LIMITS
from models.checkpoint import Checkpoint

MODELS = Path(__file__).with_name("triton_models")
VERSION = "1"
NEEDED = {"text": ("program.onnx", "tokenizer.json"), "vision": ("program.onnx",)}
# The parts of each tower's ensemble. The ensemble itself comes last, as it needs the others.
PARTS = {"text": ("text_tokens", "text_tower", "text"), "vision": ("vision_pixels", "vision_tower", "vision")}
# What the Python models import of the handlers.
HANDLERS = {
    "text_tokens": ("errors", "incidents", "preprocess/texts"),
    "vision_pixels": (
        *("errors", "incidents", "limits", "preprocess/image_files", "preprocess/jpeg", "preprocess/jpegxl"),
        *("preprocess/memory", "preprocess/reference", "runtime/machine"),
    ),
}
REQUIREMENTS = ("tokenizers", "pillow")  # what the Python models need beyond Triton's image, which has numpy

MAX_BATCH = {"text": 64, "vision": 32}  # items of a request, and rows of a pass
QUEUE_DELAY = 500  # microseconds that a request may wait for others to share its pass
INSTANCES = {"text": 1, "vision": 2}  # processes of the Python models; each decodes images in all cores


class RepositoryError(Exception):
    """The checkpoint or its programs cannot become a Triton model repository."""


def length_buckets(max_tokens: int) -> list[int]:
    """Token lengths that requests are padded to: 8, doubled up to the tower's limit.

    Fewer than within TorchServe, which sorts a batch by length: Triton takes requests in their order, and one
    of another length ends the batch before it.
    """
    lengths, length = [], 8
    while length < max_tokens:
        lengths.append(length)
        length *= 2
    return [*lengths, max_tokens]


def write(
    repository: Path,
    loaded: Checkpoint,
    programs: Mapping[str, Path],
    *,
    dtype: str = "float32",
    buckets: Sequence[int] | None = None,
    max_batch: Mapping[str, int] = MAX_BATCH,
) -> list[str]:
    """Write the models of each tower in `programs` into `repository`; returns their names.

    `programs[tower]` is a folder with program.onnx and, where its weights are external, program.onnx.data;
    that of the text tower also holds the program's tokenizer.json. `dtype`, that of the stored weights, is
    only told to clients. `buckets` are the token lengths that requests are padded to; what is shorter than 2
    or longer than the tower allows is brought within, and the tower's limit is always one of them.
    `max_batch` is by tower.

    Models of the same name are replaced, others of the repository left alone. Nothing is replaced before
    everything is written; stop Triton or let it reload the models explicitly, it must not poll meanwhile.

    Raises:
        RepositoryError: the checkpoint's name is none for a model, or a file is missing.
    """
    name = loaded.meta["name"]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise RepositoryError(
            f"{name!r} cannot name a Triton model: a letter or digit, then letters, digits and . _ -"
        )
    for tower, folder in programs.items():
        for file in NEEDED[tower]:
            if not (folder / file).is_file():
                raise RepositoryError(f"{folder} has no {file}")
    repository.mkdir(parents=True, exist_ok=True)
    written = []
    # Beside the repository: whatever folder stands in it is a model to Triton.
    with tempfile.TemporaryDirectory(dir=repository.parent, prefix=".triton-") as scratch:
        for tower, folder in programs.items():
            values = _values(loaded, tower, dtype=dtype, buckets=buckets, max_batch=max_batch[tower])
            for part in PARTS[tower]:
                _write_model(Path(scratch, f"{name}_{part}"), part, values, folder)
                written.append(f"{name}_{part}")
        for model in written:
            shutil.rmtree(repository / model, ignore_errors=True)
            Path(scratch, model).replace(repository / model)
    pins = [f"{package}=={importlib.metadata.version(package)}\n" for package in REQUIREMENTS]
    (repository / "requirements.txt").write_text("".join(pins), encoding="utf-8")
    return written


def _write_model(target: Path, part: str, values: dict[str, str], programs: Path) -> None:
    """One folder of the repository: config.pbtxt and the version with what the model needs."""
    version = target / VERSION
    version.mkdir(parents=True)
    template = Template((MODELS / f"{part}.pbtxt").read_text(encoding="utf-8"))
    (target / "config.pbtxt").write_text(template.substitute(values), encoding="utf-8")
    if part.endswith("_tower"):
        for file in programs.glob("program.onnx*"):
            shutil.copy(file, version)
        if part == "text_tower":
            _write_ones(target / "warmup", int(values["max_tokens"]))
    elif part in HANDLERS:
        shutil.copy(MODELS / f"{part}.py", version / "model.py")
        shutil.copy(MODELS / "triton_requests.py", version)
        package = Path(str(handlers.__file__)).parent
        for module in HANDLERS[part]:
            copied = version / "handlers" / f"{module}.py"
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / f"{module}.py", copied)
            for folder in {package, (package / f"{module}.py").parent}:
                shutil.copy(folder / "__init__.py", version / "handlers" / folder.relative_to(package))
        if part == "text_tokens":
            shutil.copy(programs / "tokenizer.json", version)
    else:
        # An ensemble has no files, and a folder without any gets lost in archives and object stores.
        (version / ".keep").touch()


def _values(
    loaded: Checkpoint, tower: str, *, dtype: str, buckets: Sequence[int] | None, max_batch: int
) -> dict[str, str]:
    """What the templates of a tower's models name."""
    meta, config = loaded.meta, loaded.model.config
    facts: dict[str, Any] = {key: meta[key] for key in ("name", "space", "dim", "logit_scale")}
    facts |= {"tower": tower, "dtype": dtype}
    if tower == "text":
        most = config.text.max_tokens
        asked = length_buckets(most) if buckets is None else buckets
        if config.text.fixed_length:
            asked = [most]  # what the tower fills every text up to
        lengths = sorted({*(min(max(length, 2), most) for length in asked), most})
        facts |= {"max_tokens": most, "pad_id": config.text.pad_id, "buckets": " ".join(map(str, lengths))}
        facts |= {"max_text_bytes": LIMITS["max_text_bytes"]}
        warmup = [_text_warmup(length, max_batch) for length in lengths]
    else:
        facts |= {"size": config.vision.size, "resize": config.vision.resize}
        facts |= {key: LIMITS[key] for key in ("max_image_bytes", "max_pixels")}
        warmup = [_vision_warmup(config.vision.size, max_batch)]
    values = {
        **facts,
        "max_batch": max_batch,
        "queue_delay": QUEUE_DELAY,
        "instances": INSTANCES[tower],
        "parameters": "\n".join(_parameter(key, value) for key, value in facts.items()),
        "warmup": "\n".join(warmup),
    }
    return {key: str(value) for key, value in values.items()}


def _parameter(key: str, value: object) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'


def _text_warmup(length: int, max_batch: int) -> str:
    """A largest batch of one length: token 0 everywhere, nothing masked, as an empty row has no mean."""
    inputs = {"ids": "zero_data: true", "mask": 'input_data_file: "ones"'}
    entries = " ".join(
        f'inputs {{ key: "{key}" value {{ data_type: TYPE_INT64 dims: [ {length} ] {data} }} }}'
        for key, data in inputs.items()
    )
    return f'model_warmup {{ name: "{length} tokens" batch_size: {max_batch} {entries} }}'


def _vision_warmup(size: int, max_batch: int) -> str:
    """A largest batch of black images."""
    value = f"{{ data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] zero_data: true }}"
    inputs = f'inputs {{ key: "pixels" value {value} }}'
    return f'model_warmup {{ name: "black images" batch_size: {max_batch} {inputs} }}'


def _write_ones(folder: Path, count: int) -> None:
    """The mask of the warm-up: Triton takes of the file as many as a length needs."""
    folder.mkdir()
    (folder / "ones").write_bytes(np.ones(count, dtype="<i8").tobytes())
