"""The gRPC service `babelclip.v1.Embedder`, with the standard health service and reflection beside it."""
