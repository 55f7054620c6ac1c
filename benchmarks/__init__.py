"""How fast the service is: one command each, a table, JSON and a plot; docs/benchmarks.md explains them."""
