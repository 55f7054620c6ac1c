"""Bulk embedding: a folder, shards or tables in, Parquet with vectors out, on one machine or a Ray cluster.

    python -m batch embed photographs vectors --url mar:model_store

The unit of work is the shard. What shards there are is written once, into `manifest.jsonl`; each becomes one
Parquet file, which appears whole or not at all. The files that are there are all that a restart looks at.
"""
