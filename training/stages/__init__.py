"""What a model is trained by: each stage says what is computed for a batch, `training.loop` does the rest."""
