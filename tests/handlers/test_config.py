"""What stops a worker from starting, and how TorchServe finds the handlers."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ts.utils.util import list_classes_from_module

from handlers import clip_text, clip_vision
from handlers.config import Settings, read_meta, worker_count
from handlers.errors import PHRASE, STATUS
from tests.places import REPOSITORY


def test_settings_have_defaults() -> None:
    """A model-config.yaml without our section, or none at all, means the defaults."""
    assert Settings.from_model_config(None) == Settings.from_model_config({"babelclip": None}) == Settings()
    assert Settings.from_model_config({"babelclip": {"max_items": 3}}).max_items == 3


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"max_item": 3}, "max_item"),
        ({"max_items": "3"}, "max_items"),
        ({"max_items": True}, "max_items"),
        ({"max_items": 0}, "max_items"),
        ({"threads": -1}, "threads"),
        ({"max_pixels": 10**9}, "max_pixels"),
        ({"device": "tpu"}, "device"),
        ({"dtype": "int8"}, "dtype"),
        ({"runtime": "tflite"}, "runtime"),
        ([1], "babelclip"),
    ],
)
def test_a_wrong_setting_stops_the_load(section: Any, says: str) -> None:
    """A typo in model-config.yaml is an error that names it, not a default in silence."""
    with pytest.raises(ValueError, match=says):
        Settings.from_model_config({"babelclip": section})


def test_a_setting_by_its_former_name_is_read() -> None:
    """An archive that was made when `low_memory` was called `lean` is served as it was meant."""
    assert Settings.from_model_config({"babelclip": {"lean": True}}) == Settings(low_memory=True)
    with pytest.raises(ValueError, match="low_memory must be of type bool"):
        Settings.from_model_config({"babelclip": {"lean": "yes"}})
    with pytest.raises(ValueError, match="lean is the former name of low_memory"):
        Settings.from_model_config({"babelclip": {"lean": True, "low_memory": False}})


def test_worker_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are shared among the most workers of the model; the archive's word beats the launcher's."""
    monkeypatch.setenv("BABELCLIP_WORKERS", "3")
    assert [worker_count(c) for c in (None, {"minWorkers": 2})] == [3, 2]
    monkeypatch.setenv("BABELCLIP_WORKERS", "")
    assert [worker_count(c) for c in (None, {"minWorkers": 2}, {"minWorkers": 1, "maxWorkers": 4})] == [
        1,
        2,
        4,
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 1}, "format"),
        ({"tower": "vision"}, "tower"),
        ({"space": None}, "space"),
        ({"text": None}, "text"),
        ({"text": {"max_tokens": 12, "pad_id": 1, "buckets": 3}}, "wrong type"),
    ],
)
def test_a_wrong_archive_stops_the_load(
    text_folder: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    """A meta.json of another format or tower, or with a value missing, is named in the error."""
    meta = json.loads((text_folder / "meta.json").read_text(encoding="utf-8")) | change
    meta = {name: value for name, value in meta.items() if value is not None}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        read_meta(tmp_path, tower="text")


def test_the_program_cannot_lie_outside_the_archive(text_folder: Path, tmp_path: Path) -> None:
    """A path in meta.json is reduced to a name inside the archive; buckets end at the token limit."""
    meta = json.loads((text_folder / "meta.json").read_text(encoding="utf-8"))
    meta["programs"] = {"pt2": "../../program.pt2"}
    meta["text"] = {"max_tokens": 12, "pad_id": 1, "buckets": [1, 6, 99]}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    read = read_meta(tmp_path, tower="text")
    assert read.programs == {"pt2": tmp_path / "program.pt2"}
    assert read.text is not None
    assert read.text.buckets == (2, 6, 12)


def test_every_code_has_a_status() -> None:
    """Each error code has an HTTP status, and each status a phrase."""
    import handlers.errors as errors

    codes = {value for name, value in inspect.getmembers(errors) if name.isupper() and isinstance(value, str)}
    assert codes == set(STATUS)
    assert set(STATUS.values()) <= set(PHRASE)


def test_every_code_is_documented() -> None:
    """docs/errors.md lists every code with its status."""
    rows = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    for code, status in STATUS.items():
        assert f"| `{code}` | {status} |" in rows


@pytest.mark.parametrize("module", [clip_text, clip_vision])
def test_an_entry_module_has_one_class(module: Any) -> None:
    """TorchServe refuses an entry module with any other number of classes."""
    assert len(list_classes_from_module(module)) == 1


@pytest.mark.slow
def test_the_archive_is_self_contained(tmp_path: Path) -> None:
    """The entry file beside the folder handlers/ is importable by basename, with nothing else of ours."""
    source = Path(clip_text.__file__).parent
    shutil.copytree(source, tmp_path / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("clip_text", "clip_vision"):
        shutil.copy(source / f"{name}.py", tmp_path)
    program = (
        "import sys, clip_text, clip_vision, handlers; "
        f"assert handlers.__file__.startswith({str(tmp_path)!r}); "
        "sys.exit(bool({'ts', 'babelclip', 'training', 'export'} & set(sys.modules)))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
