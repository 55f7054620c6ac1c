"""Versions that change under load, forward and back, at TorchServe and behind a gateway."""
