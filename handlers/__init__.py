"""What runs inside TorchServe: the handlers of the text and the vision tower, packed into every MAR.

Nothing here imports another package of this repository, so a MAR runs with the repository absent.
`handlers.preprocess.reference` is also the preprocessing of training and export.
"""
