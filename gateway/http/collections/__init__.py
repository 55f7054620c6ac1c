"""The calls on collections over HTTP; docs/collections.md describes them."""
