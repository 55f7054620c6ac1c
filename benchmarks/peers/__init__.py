"""Other servers for the same towers, each in an environment of its own."""
