"""From a caller's bytes to a tower's input, and what of them is opened at all."""
