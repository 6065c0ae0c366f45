"""Benchmarks of hot paths: `make bench ARGS=name` prints JSON lines and appends them to docs/performance.md."""
