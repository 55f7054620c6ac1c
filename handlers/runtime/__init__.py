"""Where and by what a tower program runs: devices, runtimes, shapes, memory."""
