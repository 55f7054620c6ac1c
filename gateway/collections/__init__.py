"""Collections: images that are kept with their vectors, and searched, on behalf of callers.

A collection is an index of `babelclip.index` under a folder of the operator, and what the gateway knows of
it: of which model its vectors are, the originals of what was uploaded, the jobs that work on it.
"""
