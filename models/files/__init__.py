"""Files of models, read strictly: weights without pickle, tokenizers, image processors."""
