"""One run of `python -m export`: the steps around the export itself, and its errors in one line each."""

import argparse
import json
import sys

import torch
import transformers

from export import archive, decoding, manifest, parity, triton, vocabulary
from export.options import Options
from export.pipeline import export
from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.weights import CheckpointError
from models.loaders import registry

# What a user can mend is said in one line; anything else is a bug, and keeps its stack trace.
KNOWN_ERRORS = (
    CheckpointError,
    parity.ParityError,
    decoding.DecodingError,
    vocabulary.VocabularyError,
    archive.ArchiveError,
    manifest.ManifestError,
    triton.RepositoryError,
    OSError,  # such as a disk that is full
)


def run(given: argparse.Namespace, options: Options) -> None:
    """Do what the command line says, unless it is done already, and print the result.

    Raises:
        SystemExit: it failed; the sentence says why.
    """
    # Those of the container, which torch does not look at, or fewer, where OMP_NUM_THREADS says so.
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    transformers.logging.set_verbosity_error()  # What is wrong with a model is said here, in one line.
    transformers.logging.disable_progress_bar()
    to_triton = given.target == "triton"
    try:
        source = registry.locate(given.source, given.vision)
        if given.if_needed and manifest.is_current(given.store, manifest.sources(source, options)):
            print(f"{given.store}: already exported from {source}, nothing to do")
            return
        outputs.check("export", "--store", given.store)
        if to_triton:
            outputs.check("export", "--repository", given.repository)
        result = export(source, given.store, options, given.repository if to_triton else None)
    except KNOWN_ERRORS as error:
        sys.exit(f"export: {error}")
    except KeyboardInterrupt:
        sys.exit("export: stopped; what was unfinished is removed")
    print("result: " + json.dumps(result))
