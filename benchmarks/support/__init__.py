"""What the benchmarks share: inputs, load, servers, options, reports."""
