"""Requests and responses: the dialect of a request, its items, and the response in the same dialect."""
