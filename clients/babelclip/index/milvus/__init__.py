"""The engine that keeps an index in a server, a cluster or a file of Milvus."""
