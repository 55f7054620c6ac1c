"""Heads that make a multilingual CLIP of two packages: what ImageNet's classes look like, and their names."""
