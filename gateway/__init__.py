"""The front door: the HTTP and gRPC calls of callers, with an engine behind it that computes.

    python -m gateway --config gateway.toml

What a caller sees (addresses, keys, errors, names of models and versions, health) is decided here; what
computes is an engine, reached through the interface `gateway.towers.base.Towers`. docs/gateway.md is the
guide.
"""
