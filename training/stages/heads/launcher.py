"""`python -m training`: one process for each device, each of which runs `training.stages.heads.stage`.

Not in `training.__main__`, because a new process does not import that, and would not find its function there.
"""

import os
import sys
from collections.abc import Sequence

from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from models import outputs
from training.stages.heads.options import HeadsOptions, parse


def one_process(local_rank: int, options: HeadsOptions) -> None:
    """What runs on device `local_rank` of this machine.

    Raises:
        SystemExit: data, models or states are not what the flags say, in one sentence.
    """
    devices = options.distributed_parallel_devices
    os.environ |= {
        "LOCAL_RANK": str(local_rank),
        "RANK": str(options.node_rank * devices + local_rank),
        "WORLD_SIZE": str(options.world_size),
        "MASTER_ADDR": options.distributed_master_address or "127.0.0.1",
        "MASTER_PORT": str(options.distributed_master_port),
    }
    # The tokenizer's threads do not live through the fork of the processes that decode images.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Not above: the launcher needs none of it, and Gaudi's software reads the environment on import.
    from training.stages.heads import stage as heads

    try:
        heads.train_on(options)
    except heads.Refusals as error:
        sys.exit(f"training: {error}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    outputs.check("training", "--checkpoint-dir", options.checkpoint_dir)
    if options.world_size == 1:
        one_process(0, options)
        return
    try:
        start_processes(
            one_process, (options,), nprocs=options.distributed_parallel_devices, start_method="spawn"
        )
    except ProcessExitedException as error:  # It has said why.
        sys.exit(f"training: {error}")
