"""Ray Serve in place of TorchServe: how it is started, and what the gateway before it is told."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from babelclip.ray_serve.__main__ import add_ray_options, ray_arguments
from babelclip.ray_serve.cluster import token_environment
from serving.environment import passed_on

ENGINES = {"torchserve": "TorchServe", "ray": "Ray Serve"}


def add_engine_choice(parser: argparse._ActionsContainer) -> None:
    """Which engine computes, and what Ray Serve is told."""
    parser.add_argument(
        "--engine",
        choices=tuple(ENGINES),
        default="torchserve",
        help="what computes (default: torchserve); ray takes Ray Serve",
    )
    add_ray_options(parser)


def check_choice(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what would change nothing, and its giver would think otherwise."""
    given = ray_arguments(options) != ray_arguments(parser.parse_args([]))
    if options.engine != "ray" and given:
        parser.error("--address, --application and --replica… are for --engine ray")
    if options.engine == "ray" and options.workers:
        parser.error("--workers is for TorchServe; with --engine ray say --replicas")


def command(options: argparse.Namespace) -> list[str]:
    """The words that start it."""
    # -P: the current folder may hold anything, and its modules are not to come first.
    words = [sys.executable, "-P", "-m", "babelclip.ray_serve", "--store", str(options.store)]
    return [*words, "--run-dir", str(options.run_dir), *ray_arguments(options)]


def environment() -> dict[str, str]:
    """This process's environment as Ray is to have it: archives bring their code, nobody calls far away."""
    return {name: value for name, value in passed_on().items() if not name.lower().endswith("_proxy")}


def as_engine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What Ray Serve says of itself, as the gateway is told of an engine."""
    return {"grpc": facts["engine"], "token_file": "", "metrics": facts["metrics"]}


def joining(facts: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that joins the cluster."""
    found = {**given, "RAY_USAGE_STATS_ENABLED": "0"}
    if facts["token_file"] is not None:
        found |= token_environment(Path(facts["token_file"]))
    return found
