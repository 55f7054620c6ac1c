"""From a caller's bytes to a tower's input, and which of them are opened at all."""
