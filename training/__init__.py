"""Training of dual encoders.

    python -m training                                heads on frozen towers, with gzomer's flags
    python -m training.stages.distillation            a student learns a teacher's vectors of parallel texts
    python -m training.stages.contrastive             images and captions, all of a model or parts of it
    python -m training.evaluation                     retrieval and zero-shot classification
    python -m training.recipes.mini.train             the small model of this repository, from emoji

Nothing of it is needed for export or serving.
"""
