"""Heads trained on the vectors of two frozen towers, as gzomer's Multilingual CLIP was."""
