"""The command line of a benchmark: its own options, and `--quick`, which every benchmark has."""

import argparse
from collections.abc import Mapping
from typing import Any

QUICK = "a tiny form, which takes seconds and shows that the command works; its figures mean nothing"


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.NAME`; the description is the module's own."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=QUICK)
    return parser


def parse(parser: argparse.ArgumentParser, quick: Mapping[str, Any]) -> argparse.Namespace:
    """The options of the command line; with --quick those in `quick` have other defaults."""
    given = parser.parse_args()
    if given.quick:
        parser.set_defaults(**quick)
        given = parser.parse_args()
    return given
