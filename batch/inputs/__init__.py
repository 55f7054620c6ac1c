"""The input: cut into shards, and a shard read as items, in the same order each time."""
