"""Applications of the vectors: search, classification, collections of images."""
