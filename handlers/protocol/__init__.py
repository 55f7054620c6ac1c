"""Requests and responses: which dialect a body speaks, its items, and the answer in the same dialect."""
