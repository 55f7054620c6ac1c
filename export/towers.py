"""One tower of an export: its programs are written, its weights freed, and every program compared with it.

Both functions leave in `folder` what an archive of the tower needs. The model has lost the tower afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export import decoding, memory, parity, programs, self_test, vocabulary
from export.options import Options
from export.self_test import SelfTest
from models.checkpoint import Checkpoint


@dataclass(frozen=True)
class ExportedTower:
    """A tower whose programs have passed the parity gate."""

    folder: Path
    reports: list[parity.Report]
    """One for each program."""
    self_test: SelfTest


def export_vision(
    loaded: Checkpoint, folder: Path, options: Options
) -> tuple[ExportedTower, decoding.Report]:
    """The vision tower, and how far serving may shortcut the decoding of its JPEGs.

    Raises:
        DecodingError, ParityError: the sentence says how far vectors are apart.
    """
    folder.mkdir(parents=True)
    inputs = parity.Golden(loaded, "vision")
    shortcut = decoding.choose(loaded)
    print(shortcut.sentence(), flush=True)
    paths = programs.write_all(loaded.model, "vision", folder, options)
    memory.free_tower(loaded.model, "vision")
    return _checked(loaded, folder, paths, inputs, options), shortcut


def export_text(
    loaded: Checkpoint, folder: Path, options: Options
) -> tuple[ExportedTower, Checkpoint, dict[str, int]]:
    """The text tower with its tokenizer, the checkpoint with that tokenizer, and the sizes of a trim.

    Raises:
        VocabularyError: the vocabulary cannot be trimmed to the languages.
        ParityError: the sentence says how far vectors are apart.
    """
    folder.mkdir(parents=True)
    # The reference's vectors are made with the whole vocabulary.
    inputs = parity.Golden(loaded, "text", options.languages if options.trim_vocab else ())
    sizes: dict[str, int] = {}
    if options.trim_vocab:
        loaded, sizes = vocabulary.trim_checkpoint(loaded, options.languages)
        print(f"vocabulary: {sizes['kept']:,} of {sizes['all']:,} tokens kept", flush=True)
        inputs.tokenizer = loaded.tokenizer
    loaded.tokenizer.no_padding()
    loaded.tokenizer.no_truncation()
    loaded.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    paths = programs.write_all(loaded.model, "text", folder, options)
    memory.free_tower(loaded.model, "text")
    return _checked(loaded, folder, paths, inputs, options), loaded, sizes


def _checked(
    loaded: Checkpoint, folder: Path, paths: Mapping[str, Path], inputs: parity.Golden, options: Options
) -> ExportedTower:
    """Compare each program with the checkpoint, one in memory at a time; the first gives the self-test."""
    reports: list[parity.Report] = []
    known: SelfTest | None = None
    for form, path in paths.items():
        program = programs.load(path)
        report = parity.compare(f"{inputs.tower}.{form}", inputs, inputs.embed(program), options.dtype)
        print(report.sentence(), flush=True)
        parity.require(report)
        reports.append(report)
        known = known or self_test.make(loaded, inputs.tower, program)
        del program
        memory.trim_heap()
    assert known is not None, "an export writes at least one program"
    return ExportedTower(folder, reports, known)
