"""The file of the keys with which callers are let in by the gateway: its format, and how it is changed."""
