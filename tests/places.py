"""Where what the tests use lies in the repository."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "training" / "recipes" / "mini"
MINI = RECIPE / "checkpoint"
SAMPLES = RECIPE / "samples"
PHOTOS = REPOSITORY / "training" / "recipes" / "photos" / "checkpoint"
