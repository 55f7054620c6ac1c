"""The options of a start: those of TorchServe, and for scripts/serve those of the gateway and an export."""

import argparse
from pathlib import Path

from serving.settings import LISTENERS
from serving.workers import CORES_A_WORKER

REPOSITORY = Path(__file__).resolve().parents[2]
STORE = REPOSITORY / "model_store"
# What `python -m export` takes with a value, and what it takes without one.
EXPORT_VALUES = {
    "dtype": "of the stored weights: float32, bfloat16 or int8",
    "programs": "what the archives hold: pt2, onnx or both",
    "languages": "what the text tower is for: en,de,zh,…",
    "architecture": "open_clip's name of the model, for a file of weights without a config",
    "vision": "the CLIP that a text tower published by itself goes with",
}
EXPORT_FLAGS = {
    "trim-vocab": "drop the tokens that none of --languages needs",
    "lean": "the least memory, slower passes",
}


def add_engine_options(parser: argparse._ActionsContainer) -> None:
    """What TorchServe is started with."""
    parser.add_argument(
        "--config", type=Path, default=REPOSITORY / "config.properties", help="TorchServe's settings"
    )
    parser.add_argument("--store", type=Path, default=STORE, help="archives and manifest.json")
    parser.add_argument(
        "--run-dir", type=Path, default=REPOSITORY / ".run", help="logs, tokens, temporary files"
    )
    parser.add_argument(
        "--ports",
        choices=("default", "auto"),
        default="default",
        help="default: those of the settings; auto: free ones",
    )
    for listener in LISTENERS:
        parser.add_argument(
            f"--{listener.replace('_', '-')}-port", type=int, metavar="PORT", help="0: any free one"
        )
    parser.add_argument(
        "--queue-metrics-port",
        type=int,
        metavar="PORT",
        help="serve Prometheus how many requests wait, on this port of 127.0.0.1; 0: any free one",
    )
    parser.add_argument(
        "--workers",
        type=_number,
        default=0,
        metavar="COUNT",
        help=f"processes that serve each tower and share the cores; one a card on GPUs and Gaudi "
        f"(default: one for every {CORES_A_WORKER} cores, as far as the memory holds them)",
    )
    parser.add_argument(
        "--startup-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long the workers may take to become ready (default: 600)",
    )


def engine_arguments(options: argparse.Namespace) -> list[str]:
    """The words that say to scripts/server.py what `add_engine_options` has read."""
    words = ["--config", str(options.config), "--store", str(options.store)]
    words += ["--run-dir", str(options.run_dir), "--ports", options.ports]
    words += ["--workers", str(options.workers), "--startup-timeout", str(options.startup_timeout)]
    for listener in (*LISTENERS, "queue_metrics"):
        if (port := getattr(options, f"{listener}_port")) is not None:
            words += [f"--{listener.replace('_', '-')}-port", str(port)]
    return words


def add_gateway_options(parser: argparse._ActionsContainer) -> None:
    """What the gateway is started with; its settings have the rest."""
    parser.add_argument(
        "--gateway-config", type=Path, metavar="FILE", help="its settings in TOML: docs/gateway.md"
    )
    parser.add_argument("--gateway-host", metavar="ADDRESS", help="where it listens (default: 127.0.0.1)")
    for listener, default in (("", 8000), ("grpc-", 8001), ("metrics-", 8002)):
        parser.add_argument(
            f"--gateway-{listener}port",
            type=int,
            metavar="PORT",
            help=f"0: any free one (default: {default})",
        )
    parser.add_argument(
        "--gateway-workers",
        type=int,
        metavar="COUNT",
        help="processes of the gateway, which share its ports (default: 1)",
    )
    parser.add_argument(
        "--model-name",
        metavar="NAME",
        help="what callers name the model (default: ORGANISATION/NAME of the hub, or the name in its files)",
    )


def add_export_options(parser: argparse._ActionsContainer) -> None:
    """How a SOURCE is exported."""
    for name, meaning in EXPORT_VALUES.items():
        parser.add_argument(f"--{name}", help=meaning)
    for name, meaning in EXPORT_FLAGS.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)


def export_arguments(options: argparse.Namespace) -> list[str]:
    """The words that say to `python -m export` what `add_export_options` has read."""
    words = []
    for name in EXPORT_VALUES:
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", value]
    return words + [f"--{name}" for name in EXPORT_FLAGS if getattr(options, name.replace("-", "_"))]


def _number(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"a number of processes, 0 for the best, not {count}")
    return count
