"""Where and how a tower program runs: devices, runtimes, shapes, memory."""
