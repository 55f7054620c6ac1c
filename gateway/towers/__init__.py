"""What computes behind the gateway: the interface, and the engine reached by babelclip's client."""
