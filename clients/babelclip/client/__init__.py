"""The client: one core, and two shells that drive it, for threads and for event loops."""
