"""The engine that keeps an index in a folder or an object store: LanceDB."""
