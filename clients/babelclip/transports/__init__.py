"""Ways to a tower: HTTP, gRPC, and archives in this process."""
