"""From a checkpoint to two served archives: tower programs, their parity with the checkpoint, MARs."""
