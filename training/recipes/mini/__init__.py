"""The small model of this repository: emoji, drawn and named in a hundred languages."""
