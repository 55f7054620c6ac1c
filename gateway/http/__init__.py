"""The calls over HTTP: one module per dialect, over one request and one answer of the gateway's own."""
