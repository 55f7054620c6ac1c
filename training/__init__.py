"""Training, evaluation and checkpoints of multilingual CLIP models."""
