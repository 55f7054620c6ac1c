"""Models, data, training, evaluation: see the modules. Nothing of it is needed for serving."""

from training.torchvision_operators import declare_missing

declare_missing()
