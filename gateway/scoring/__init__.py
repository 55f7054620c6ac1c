"""What vectors are for: how well items fit each other, which label one shows, which documents answer a query.

All items of a request are embedded together, so that they are vectors of one version and one space, and only
the scores leave the gateway. A cosine is the model's own. A probability is CLIP's softmax of logit scale ×
cosine over candidates, as transformers' CLIPModel has it in `logits_per_image`, which says what fits best and
not whether anything does. That is what a `match` says, where the operator has measured what a cosine means
for the model (`babelclip.calibrate`): of a text and an image, for which alone it is measured.
"""
