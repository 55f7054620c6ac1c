"""An index of a million vectors: its recall, its latency, and what it costs to fill, to build and to hold."""
