"""Train projection heads on frozen towers, one process for each device.

    python -m training --distributed-num-nodes 1 --dataset-dir datasets/coco --checkpoint-dir models/coco

On several machines, the same command on each, with NODE_RANK=0, 1, … in its environment, --distributed-
master-address naming node 0, and a checkpoint folder that all of them share. `training.stages.heads.stage` is
what learns, `training.stages.heads.options` the flags.
"""

from training.stages.heads.launcher import main

if __name__ == "__main__":
    main()
