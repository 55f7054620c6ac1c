"""Versions of a running server's models: added, made the default, taken back, removed."""
